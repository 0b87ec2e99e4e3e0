# Started by `vq-lib sweep` in a report's run/sweep/ folder, with pipeline.json there as its configuration.
#
# A job a point; each is a report of its own, which its job builds up to notebook 02. On one machine they run one after
# the other, since a training takes all cores; with a cluster's profile, side by side.
import sys

if not config:
    raise SystemExit("This Snakefile is started by 'vq-lib sweep NAME'.")


rule all:
    input:
        [f"{point}/done" for point in config["points"]],


rule point:
    output:
        touch("{point}/done"),
    params:
        data=config["signature"],
    threads: workflow.cores
    shell:
        "{sys.executable:q} -m vq_lib.report.build {wildcards.point:q}"
