"""The command `lei-exports batch`: a batch of the published snapshot as a file."""

import sys
from itertools import groupby
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer
from rich.console import Console

from assets.cli.console import TerminalBytes, new_console, print_wrapped
from pipelines.query.batch.batches import LEAST_MEMORY_MB, MEMORY_MB, Batch, open_batch, shown_id
from pipelines.query.batch.files import (
    BatchFormat,
    BatchOptions,
    WrittenBatch,
    encode_batch,
    file_name,
    write_batch,
)
from pipelines.query.batch.workbook import EXCEL_CHARACTERS, Cut
from pipelines.settings import load_settings
from pipelines.snapshots.opening import published_snapshot
from pipelines.system.environment import LARGEST_MEMORY_MB

_STANDARD_OUTPUT = "-"
_SHOWN_IDS = 10


def write_batch_file(  # noqa: PLR0913  each is an option
    batch_id: Annotated[
        str, typer.Argument(help="Id of the batch; it may begin with - or hold /.", metavar="BATCH_ID")
    ],
    *,
    batch_format: Annotated[BatchFormat, typer.Option("--format", help="Format of the file.")] = BatchFormat.CSV,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            help="File to write, over an older one; - is standard output. "
            "Left out: batch-BATCH_ID.FORMAT in this folder.",
            metavar="FILE",
        ),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="CSV: do not put ' before texts that a spreadsheet would run as a formula."),
    ] = False,
    bom: Annotated[bool, typer.Option("--bom", help="CSV: begin with a byte order mark, for Excel.")] = False,
    memory_mb: Annotated[
        int,
        typer.Option(
            "--memory-mb",
            min=LEAST_MEMORY_MB,
            max=LARGEST_MEMORY_MB,
            help="Most memory, MB; a large text may be a quarter of it.",
            metavar="MB",
        ),
    ] = MEMORY_MB,
) -> None:
    """Write a batch with all its candidates to a file, from the published snapshot."""
    for name, is_given in (("--raw", raw), ("--bom", bom)):
        if is_given and batch_format is not BatchFormat.CSV:
            raise typer.BadParameter(f"{name} is for csv only, not for {batch_format}")
    is_piped = out == _STANDARD_OUTPUT
    if is_piped and not batch_format.is_text and sys.stdout.isatty():
        raise typer.BadParameter(f"{batch_format} can't be shown in a terminal: name a file, or pipe it on")
    snapshot = published_snapshot(load_settings().export_dir)
    options = BatchOptions(raw=raw, bom=bom)
    with open_batch(snapshot, batch_id, memory_mb) as batch:
        if is_piped:
            output = sys.stdout.buffer
            if sys.stdout.isatty():
                output = cast("BinaryIO", TerminalBytes(output))
            written = encode_batch(batch, batch_format, output, options)
            sys.stdout.buffer.flush()
            _show(new_console(stderr=True), batch, written, "standard output")
        else:
            target = Path(out) if out else Path(file_name(batch_id, batch_format))
            written = write_batch(batch, batch_format, target, options)
            _show(new_console(), batch, written, str(target))


def _show(console: Console, batch: Batch, written: WrittenBatch, where: str) -> None:
    candidates = batch.candidate_count
    manifest = batch.snapshot.manifest
    lines = [
        f"Batch     {shown_id(batch.batch_id)}: {batch.domain_count:,} rows, {candidates:,} candidates",
        f"Snapshot  {manifest.id}, as of {manifest.source.snapshot_at:%Y-%m-%d %H:%M:%S} UTC",
        *_cut_lines(written.cuts),
        f"Written   {where} ({written.bytes:,} bytes)",
    ]
    for line in lines:
        print_wrapped(console, line)


def _cut_lines(cuts: tuple[Cut, ...]) -> list[str]:
    if not cuts:
        return []
    lines = [
        f"Warning   {len(cuts):,} texts over Excel's {EXCEL_CHARACTERS:,} characters were cut; they end with [cut: …]"
    ]
    for header, group in groupby(sorted(cuts, key=lambda cut: (cut.header, cut.domain_id)), key=lambda cut: cut.header):
        ids = [cut.domain_id for cut in group]
        more = f" and {len(ids) - _SHOWN_IDS:,} more" if len(ids) > _SHOWN_IDS else ""
        lines.append(f"          {header}: domain ids {', '.join(map(str, ids[:_SHOWN_IDS]))}{more}")
    return lines
