"""Figures: functions of arrays that return a matplotlib `Figure`; a module for each thing that is shown.

They read and write no files, and know neither study nor recipe; `vq_lib.report.display` saves and captions them.
"""
