"""The command line `vq-lib`: what the commands take. What they do lies in `report.build`, `sweep` and `commands`."""

import argparse
import contextlib
import io
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from typing import NoReturn

from vq_lib import environment
from vq_lib.errors import UserError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"vq-lib: {message}; '{self.prog} --help' shows what is known.\n")


def _number(kind, wanted, fits):
    """A converter of text to numbers that fit; `wanted` says in words which these are."""

    def convert(text):
        with contextlib.suppress(ValueError):
            if fits(value := kind(text)):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")

    return convert


COUNT = _number(int, "a whole number from 1 on", lambda value: value >= 1)
INDEX = _number(int, "a whole number from 0 on", lambda value: value >= 0)
ABOVE = _number(float, "a number above 0", lambda value: value > 0)
SHARE = _number(float, "a number above 0 to 1", lambda value: 0 < value <= 1)


def parser() -> Parser:
    """The parser of `vq-lib` with its subcommands; `args.command` names the one chosen."""
    top = Parser(prog="vq-lib", description="Reports, reconstructions, samples and scores of VQ-VAEs on brain slices.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name, summary, example, *, models=False, report="a report under reports/, or the folder of one"):
        told = {"help": summary, "description": summary, "epilog": f"example: {example}"}
        made = commands.add_parser(name, allow_abbrev=False, **told)
        if not models:
            made.add_argument("report", metavar="NAME", help=report)
            return made.add_argument
        either = made.add_mutually_exclusive_group(required=True).add_argument
        either("--report", metavar="NAME", help="use the models of this report (a name or a folder)")
        either("--model", metavar="FILE", help="use this VQ-VAE, a .keras file, in the place of a report's")
        white = "level of 16-bit images that becomes white (default: the report's data.white, or 65535)"
        made.add_argument("--white", metavar="LEVEL", type=COUNT, help=white)
        return made.add_argument

    # fmt: off
    add = command("report", "Build a report: run what changed, write report.html.",
                  'vq-lib report demo --set "vqvae.epochs=2 prior.epochs=2"')
    add("--data", metavar="DIR", default="", help="folder of the images; none where the recipe makes its own")
    changes = {"metavar": "KEYS", "dest": "overrides", "default": ""}
    add("--set", **changes, help='changes to the recipe, such as "vqvae.epochs=2"')
    add("--force", action="store_true", help="run every notebook again; finished models and decoded slices stay")

    command("publish", "Put a report that was built in the place of the one that is committed.", "vq-lib publish demo")

    add = command("sweep", "Train the VQ-VAE of a report with one thing changed at a time (its sweep.yaml).",
                  "vq-lib sweep oasis-best --data folder", report="a report with a sweep.yaml, or the folder of one")
    add("--data", metavar="DIR", default="", help="folder of the images")
    add("--set", **changes, help='changes to the recipe before those of each point, such as "data.layout=oasis"')

    add = command("reconstruct", "Write reconstructions of images and print their SSIM.",
                  "vq-lib reconstruct --report demo brain.png --out reconstructions", models=True)
    add("images", metavar="IMAGE", nargs="+", help="images or volumes, or folders of them")
    add("--out", metavar="DIR", required=True, help="folder for the reconstructions")
    add("--json", metavar="FILE", help="write the scores to this file")

    add = command("generate", "Generate new images.", "vq-lib generate --report demo -n 16 --out samples.png",
                  models=True)
    add("--prior", metavar="FILE", help="the prior that belongs to --model, a .keras file")
    add("-n", metavar="N", type=COUNT, default=16, help="how many images (default %(default)s)")
    add("--out", metavar="FILE", default="samples.png", help="image file to write (default %(default)s)")
    add("--temperature", metavar="T", type=ABOVE, default=1.0, help="below 1: likelier codes, less variety (default 1)")
    add("--top-k", metavar="K", type=COUNT, help="draw only from the K most likely codes of a place")
    add("--top-p", metavar="P", type=SHARE, help="draw only from the likeliest codes that reach this probability")
    add("--seed", metavar="N", type=INDEX, default=0, help="equal seeds give equal images (default 0)")
    add("--label", metavar="NAME", help="of people with this label, where the prior knows labels")
    add("--position", metavar="N", type=INDEX, help="at this slice position, where the prior knows positions")
    add("--complete", metavar="IMAGE", help="keep this image outside the mask (of a volume its middle slice)")
    add("--mask", metavar="PART", help="what to draw anew of it: left, right, upper, lower (default), centre, or an "
        "image that is white there")

    add = command("score", "Print SSIM, foreground SSIM and PSNR of reconstructions over a folder of images.",
                  "vq-lib score --report demo slices/ --json scores.json", models=True)
    add("folder", metavar="FOLDER", help="folder of images or volumes")
    add("--json", metavar="FILE", help="write the scores to this file, in the form of metrics.json's vqvae")
    # fmt: on
    return top


def _prepare():
    """Signals and letters, for this process and all that it starts."""
    for name in ("SIGTERM", "SIGHUP"):  # a closed terminal ends all just as Ctrl-C does; nohup keeps its meaning
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), signal.default_int_handler)
    # Letters that the output has no place for become their number: not every encoding has an ellipsis.
    encoding = os.environ.get("PYTHONIOENCODING", "")
    if ":" not in encoding:
        os.environ["PYTHONIOENCODING"] = f"{encoding}:backslashreplace"
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vq-lib` and return its exit status: 0, 1 (failed), 2 (the user's mistake), 130 (interrupted)."""
    top = parser()
    args = top.parse_args(argv)
    if args.command is None:
        top.print_help()
        return 0
    if args.command == "generate" and bool(args.model) != bool(args.prior):
        top.error("--model and --prior belong together: give both files, or --report alone")
    if args.command == "generate" and args.mask and not args.complete:
        top.error("--mask says what to draw anew of an image: name it with --complete IMAGE")
    _prepare()
    try:
        with tempfile.TemporaryDirectory(prefix="vq-lib-", ignore_cleanup_errors=True) as folder:
            os.environ.update(environment.places(folder))
            return _run(args)
    except UserError as error:
        print(f"vq-lib: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that may not be written
        if error.filename is None:
            raise
        print(f"vq-lib: {error.filename} cannot be read or written: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        goes_on = args.command in ("report", "sweep")
        again = "the same command goes on from here" if goes_on else "nothing half-done was left"
        print(f"vq-lib: interrupted; {again}.", file=sys.stderr)
        return 130


def _run(args):
    from vq_lib.report import build, commands, sweep

    if args.command == "report":
        return build.build(args.report, args.data, args.overrides, force=args.force)
    if args.command == "publish":
        return build.publish(args.report)
    if args.command == "sweep":
        return sweep.run(args.report, args.data, args.overrides)
    return getattr(commands, args.command)(args) or 0
