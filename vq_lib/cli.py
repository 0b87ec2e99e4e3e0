"""The command line `vq-lib`: what the commands take. What they do lies in `report.build`, `sweep` and `commands`."""

import argparse
import io
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vq_lib import environment
from vq_lib.errors import UserError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"vq-lib: {message}; '{self.prog} --help' shows what is known.\n")


def _number(kind, least, exclusive=False, most=None):
    """A converter of text to numbers from `least` to `most`, which says these limits where they are not kept."""

    def convert(text):
        try:
            value = kind(text)
            inside = least < value if exclusive else least <= value
        except ValueError:
            inside = False
        if not inside or (most is not None and value > most):
            name = "a whole number" if kind is int else "a number"
            ends = f"{'above' if exclusive else 'from'} {least}" + (f" to {most}" if most is not None else " on")
            raise argparse.ArgumentTypeError(f"{text!r} is not {name} {ends}")
        return value

    return convert


def parser() -> Parser:
    """The parser of `vq-lib` with its subcommands; `args.command` names the one chosen."""
    top = Parser(prog="vq-lib", description="Reports, reconstructions, samples and scores of VQ-VAEs on brain slices.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name, summary, example):
        return commands.add_parser(name, help=summary, description=summary, allow_abbrev=False,
                                   epilog=f"example:  {example}",
                                   formatter_class=argparse.RawDescriptionHelpFormatter).add_argument  # fmt: skip

    # fmt: off
    add = command("report", "Build a report: run what changed, write report.html.",
                  'vq-lib report demo --set "vqvae.epochs=2 prior.epochs=2"')
    add("report", metavar="NAME", help="a report under reports/, or the folder of one")
    add("--data", metavar="DIR", default="", help="folder of the images; none where the recipe makes its own")
    add("--set", metavar="KEYS", dest="overrides", default="", help='changes to the recipe, such as "vqvae.epochs=2"')
    add("--force", action="store_true",
        help="run every notebook again, also where nothing changed; finished models and decoded slices stay")

    add = command("publish", "Put a report that was built in the place of the one that is committed.",
                  "vq-lib publish demo")
    add("report", metavar="NAME", help="a report under reports/, or the folder of one")

    add = command("sweep", "Train the VQ-VAE of a report with one thing changed at a time (its sweep.yaml).",
                  "vq-lib sweep oasis-best --data folder")
    add("report", metavar="NAME", help="a report with a sweep.yaml, or the folder of one")
    add("--data", metavar="DIR", default="", help="folder of the images")

    add = command("reconstruct", "Write reconstructions of images and print their SSIM.",
                  "vq-lib reconstruct --report demo brain.png --out reconstructions")
    _which_model(add)
    add("images", metavar="IMAGE", nargs="+", help="images or volumes, or folders of them")
    add("--out", metavar="DIR", required=True, help="folder for the reconstructions")
    add("--json", metavar="FILE", help="write the scores to this file")

    add = command("generate", "Generate new images.", "vq-lib generate --report demo -n 16 --out samples.png")
    _which_model(add)
    add("--prior", metavar="FILE", help="the prior that belongs to --model, a .keras file")
    add("-n", metavar="N", type=_number(int, 1), default=16, help="how many images (default %(default)s)")
    add("--out", metavar="FILE", default="samples.png", help="image file to write (default %(default)s)")
    add("--temperature", metavar="T", default=1.0, type=_number(float, 0, exclusive=True),
        help="below 1: likelier codes, less variety, nearer to training slices; above: the opposite (default 1)")
    add("--top-k", metavar="K", type=_number(int, 1), help="draw only from the K most likely codes of a place")
    add("--top-p", metavar="P", type=_number(float, 0, exclusive=True, most=1),
        help="draw only from the likeliest codes that reach the probability P together")
    add("--seed", metavar="N", type=_number(int, 0), default=0, help="equal seeds give equal images (default 0)")
    add("--label", metavar="NAME", help="of people with this label, where the prior knows labels")
    add("--position", metavar="N", type=_number(int, 0), help="at this slice position, where the prior knows positions")
    add("--complete", metavar="IMAGE", help="keep this image outside the mask, draw the rest anew; of a volume, its "
        "middle slice")
    add("--mask", metavar="PART", help="what to draw anew: left, right, upper, lower or centre, or an image that is "
        "white there (default lower)")

    add = command("score", "Print SSIM, foreground SSIM and PSNR of reconstructions over a folder of images.",
                  "vq-lib score --report demo slices/ --json scores.json")
    _which_model(add)
    add("folder", metavar="FOLDER", help="folder of images or volumes")
    add("--json", metavar="FILE", help="write the scores to this file, in the form of metrics.json's vqvae")
    # fmt: on
    return top


def _which_model(add):
    add("--report", metavar="NAME", help="use the models of this report (a name or a folder)")
    add("--model", metavar="FILE", help="use this VQ-VAE, a .keras file, in the place of a report's")
    add("--white", metavar="LEVEL", type=_number(int, 1),
        help="level of 16-bit images that becomes white (default: the report's data.white, or 65535)")  # fmt: skip


def _interrupt(number, frame):
    raise KeyboardInterrupt


def _prepare():
    """Signals, letters and places, for this process and all that it starts.

    A closed terminal ends everything just as Ctrl-C does; nohup keeps its meaning. Letters that the output has no place
    for become their number: not every encoding has an ellipsis. What a home that cannot be written refuses lies in a
    temporary folder, which is returned; None where there is none.
    """
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), _interrupt)
    encoding = os.environ.get("PYTHONIOENCODING", "")
    if ":" not in encoding:
        os.environ["PYTHONIOENCODING"] = f"{encoding}:backslashreplace"
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
    os.environ.update(changed := environment.places())
    return next((Path(place).parent for place in changed.values()), None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vq-lib` and return its exit status: 0, 1 (failed), 2 (the user's mistake), 130 (interrupted)."""
    top = parser()
    args = top.parse_args(argv)
    if args.command is None:
        top.print_help()
        return 0
    if hasattr(args, "model") and bool(args.model) == bool(args.report):
        top.error(f"{args.command} takes one of --report and --model")
    if args.command == "generate" and bool(args.model) != bool(args.prior):
        top.error("--model and --prior belong together: give both files, or --report alone")
    if args.command == "generate" and args.mask and not args.complete:
        top.error("--mask says what to draw anew of an image: name it with --complete IMAGE")
    temporary = _prepare()
    try:
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
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def _run(args):
    if args.command == "report":
        from vq_lib.report import build

        return build.build(args.report, args.data, args.overrides, force=args.force)
    if args.command == "publish":
        from vq_lib.report import build

        return build.publish(args.report)
    if args.command == "sweep":
        from vq_lib.report import sweep

        return sweep.run(args.report, args.data)
    from vq_lib.report import commands

    return getattr(commands, args.command)(args) or 0
