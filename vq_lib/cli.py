"""The command line `vq-lib`: what the commands take. What they do lies in `pipeline` and `commands`."""

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from vq_lib.errors import UserError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"vq-lib: {message}; '{self.prog} --help' shows what is known.\n")


def _number(kind, least, name, exclusive=False, most=float("inf")):
    def convert(text):
        value = kind(text)
        if not least <= value <= most or (exclusive and value == least):
            raise ValueError
        return value

    convert.__name__ = name  # argparse: "invalid <name> value: '-3'"
    return convert


def parser() -> Parser:
    """The parser of `vq-lib` with its subcommands; `args.command` names the one chosen."""
    top = Parser(prog="vq-lib", description="Reports, reconstructions, samples and scores of VQ-VAEs on brain slices.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name, summary, example):
        return commands.add_parser(
            name, help=summary, description=summary, allow_abbrev=False, epilog=f"example:  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip

    report = command("report", "Build a report: run what changed, write report.html.",
                     'vq-lib report demo --set "vqvae.epochs=2 prior.epochs=2"')  # fmt: skip
    report.add_argument("report", metavar="NAME", help="a report under reports/, or the folder of one")
    report.add_argument(
        "--data", metavar="DIR", default="", help="folder of the images; none where the recipe makes its own"
    )
    report.add_argument("--set", metavar="KEYS", dest="overrides", default="",
                        help='changes to the recipe, such as "vqvae.epochs=2 prior.epochs=2"')  # fmt: skip
    report.add_argument("--force", action="store_true", help="run every notebook again, also where nothing changed; "
                        "finished models and decoded slices stay")  # fmt: skip

    sweep = command("sweep", "Train the VQ-VAE of a report with one thing changed at a time (its sweep.yaml).",
                    "vq-lib sweep oasis-best --data folder")  # fmt: skip
    sweep.add_argument("report", metavar="NAME", help="a report with a sweep.yaml, or the folder of one")
    sweep.add_argument("--data", metavar="DIR", default="", help="folder of the images")

    reconstruct = command("reconstruct", "Write reconstructions of images and print their SSIM.",
                          "vq-lib reconstruct --report demo brain.png --out reconstructions")  # fmt: skip
    _which_model(reconstruct)
    reconstruct.add_argument("images", metavar="IMAGE", nargs="+", help="image files, or folders of them")
    reconstruct.add_argument("--out", metavar="DIR", required=True, help="folder for the reconstructions")
    reconstruct.add_argument("--json", metavar="FILE", help="write the scores to this file")

    generate = command("generate", "Generate new images.", "vq-lib generate --report demo -n 16 --out samples.png")
    _which_model(generate)
    generate.add_argument("--prior", metavar="FILE", help="the prior that belongs to --model, a .keras file")
    generate.add_argument("-n", type=_number(int, 1, "count"), default=16, help="how many images (default %(default)s)")
    generate.add_argument(
        "--out", metavar="FILE", default="samples.png", help="image file to write (default %(default)s)"
    )
    generate.add_argument("--temperature", metavar="T", default=1.0,
                          type=_number(float, 0, "temperature", exclusive=True),
                          help="below 1: likelier codes, less variety, nearer to training slices; above 1: the "
                          "opposite (default %(default)s)")  # fmt: skip
    generate.add_argument("--top-k", metavar="K", type=_number(int, 1, "count"),
                          help="draw only from the K most likely codes of a place")  # fmt: skip
    generate.add_argument("--top-p", metavar="P", type=_number(float, 0, "probability", exclusive=True, most=1),
                          help="draw only from the likeliest codes that reach the probability P together")  # fmt: skip
    generate.add_argument("--seed", type=_number(int, 0, "seed"), default=0,
                          help="equal seeds give equal images (default %(default)s)")  # fmt: skip
    generate.add_argument("--label", metavar="NAME", help="of people with this label, where the prior knows labels")
    generate.add_argument("--position", metavar="N", type=_number(int, 0, "position"),
                          help="at this slice position, where the prior knows positions")  # fmt: skip
    generate.add_argument("--complete", metavar="IMAGE", help="keep this image outside the mask, draw the rest anew")
    generate.add_argument("--mask", metavar="PART",
                          help="what to draw anew: left, right, upper, lower or centre, or an image that is white "
                          "there (default lower)")  # fmt: skip

    score = command("score", "Print SSIM, foreground SSIM and PSNR of reconstructions over a folder of images.",
                    "vq-lib score --report demo slices/ --json scores.json")  # fmt: skip
    _which_model(score)
    score.add_argument("folder", metavar="FOLDER", help="folder of images")
    score.add_argument(
        "--json", metavar="FILE", help="write the scores to this file, in the form of metrics.json's vqvae"
    )
    return top


def _which_model(command):
    one = command.add_mutually_exclusive_group(required=True)
    one.add_argument("--report", metavar="NAME", help="use the models of this report (a name or a folder)")
    one.add_argument("--model", metavar="FILE", help="use this VQ-VAE, a .keras file")
    command.add_argument("--white", metavar="LEVEL", type=_number(int, 1, "level"),
                         help="level of 16-bit images that becomes white (default: the report's data.white, "
                         "or 65535)")  # fmt: skip


def _interrupt(number, frame):
    raise KeyboardInterrupt


def _say_what_can_be_said():
    """Letters that the terminal, or the file that output goes to, has no place for become their number, here and in
    what is started from here: not every encoding has an ellipsis.
    """
    encoding = os.environ.get("PYTHONIOENCODING", "")
    if ":" not in encoding:
        os.environ["PYTHONIOENCODING"] = f"{encoding}:backslashreplace"
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vq-lib` and return its exit status: 0, 1 (failed), 2 (the user's mistake), 130 (interrupted)."""
    for name in ("SIGTERM", "SIGHUP"):  # a closed terminal ends everything just as Ctrl-C does; nohup keeps its meaning
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), _interrupt)
    _say_what_can_be_said()
    top = parser()
    args = top.parse_args(argv)
    if args.command is None:
        top.print_help()
        return 0
    if args.command == "generate" and bool(args.model) != bool(args.prior):
        top.error("--model and --prior belong together: give both files, or --report alone")
    if args.command == "generate" and args.mask and not args.complete:
        top.error("--mask says what to draw anew of an image: name it with --complete IMAGE")
    try:
        if args.command == "report":
            from vq_lib.report import pipeline

            return pipeline.build(args.report, args.data, args.overrides, force=args.force)
        if args.command == "sweep":
            from vq_lib.report import sweep

            return sweep.run(args.report, args.data)
        from vq_lib.report import commands

        return getattr(commands, args.command)(args) or 0
    except UserError as error:
        print(f"vq-lib: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that may not be written
        if error.filename is None:
            raise
        print(f"vq-lib: {error.filename} cannot be read or written: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = (
            "the same command goes on from here"
            if args.command in ("report", "sweep")
            else "nothing half-done was left"
        )
        print(f"vq-lib: interrupted; {again}.", file=sys.stderr)
        return 130
