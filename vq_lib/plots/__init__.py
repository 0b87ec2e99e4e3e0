"""Figures: functions of arrays that return a matplotlib `Figure`, and know neither files, study nor recipe."""
