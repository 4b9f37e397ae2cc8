"""Recordings: measured, drawn, inspected, converted, made anonymous."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ecglm.cli._common import (
    NOTICE,
    AllowTruncated,
    Index,
    Json,
    Leads,
    Records,
    SamplingRate,
    Unit,
    app,
    check_folder,
    given,
    print_documents,
    print_json,
    progress,
)


@app.command()
def measure(
    records: Records,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row a record.")] = False,
    beats: Annotated[bool, typer.Option(help="With --csv: one row a beat.")] = False,
    grounding: Annotated[
        bool, typer.Option(help="Print JSON: fourteen sequences of every lead, a value for each beat.")
    ] = False,
    sampling_rate: SamplingRate = None,
    unit: Unit = None,
    leads: Leads = None,
    index: Index = None,
) -> None:
    """Measure ECGs, also whole folders, as a cardiograph does, and judge their signal quality."""
    from ecglm.io import read
    from ecglm.measure import measure, tables
    from ecglm.measure.grounding import grounding_sequences

    if as_csv and (as_json or grounding):
        raise ValueError("--csv and JSON exclude each other; choose one")
    if beats and not as_csv:
        raise ValueError("--beats goes with --csv; --json and --grounding hold every beat already")
    hints = given(sampling_rate=sampling_rate, unit=unit, leads=leads, index=index)
    chosen = _each(records, index)
    alone = len(records) == len(chosen) == 1
    documents: list[Any] = []
    failed = []
    with progress(len(chosen)) as tick:
        for record, which in chosen:
            try:
                ecg = read(record, **hints | which)
            except (ValueError, OSError) as error:
                if alone:
                    raise
                failed.append(" ".join(str(error).split()))
                continue
            for warning in ecg.metadata.get("warnings", []):
                typer.echo(f"{ecg.name}: {warning}", err=True)
            measured = measure(ecg)
            if grounding:
                documents.append(grounding_sequences(ecg, measured))
            elif as_json:
                documents.append(tables.document(ecg, measured))
            elif as_csv:
                documents += tables.beat_rows(ecg, measured) if beats else [tables.record_row(ecg, measured)]
            else:
                documents.append(tables.for_people(ecg, measured))
            tick(ecg.name)
    if as_json or grounding:
        print_documents(documents, alone)
    elif as_csv:
        typer.echo(tables.to_csv(documents), nl=False)
    else:
        _print_measurements(documents)
        typer.echo(NOTICE, err=True)
    for error in failed:
        typer.echo(f"  {error}", err=True)
    if failed:
        raise ValueError(f"{len(failed)} of {len(chosen)} files cannot be read")


@app.command()
def render(
    record: Annotated[str, typer.Argument(help="An ECG file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .png, .jpg, .svg or .pdf.")],
    layout: Annotated[
        str, typer.Option(help="3x4, 3x4+1, 3x4+3, 6x2, 6x2+1, 4x3, 12x1, median or strip")
    ] = "3x4+1",
    order: Annotated[str, typer.Option(help="Limb leads: standard or cabrera.")] = "standard",
    timing: Annotated[str, typer.Option(help="Columns: consecutive or simultaneous.")] = "consecutive",
    rhythm: Annotated[list[str] | None, typer.Option(help="Lead of a rhythm strip; may be repeated.")] = None,
    lead: Annotated[list[str] | None, typer.Option(help="Lead of layout strip; may be repeated.")] = None,
    dpi: Annotated[float, typer.Option(help="Dots per inch.")] = 150,
    speed: Annotated[float, typer.Option(help="Paper speed, mm/s.")] = 25,
    gain: Annotated[float, typer.Option(help="mm/mV")] = 10,
    start: Annotated[float, typer.Option(help="First second shown.")] = 0,
    paper: Annotated[
        str | None, typer.Option(help="a4, letter or ecg-image-kit; by default as large as needed.")
    ] = None,
    colours: Annotated[
        str, typer.Option(help="red, blue, green, grey, black_and_white or ecg-image-kit")
    ] = "red",
    grid: Annotated[bool, typer.Option(help="Ruled or plain paper.")] = True,
    line_width: Annotated[float, typer.Option(help="Of the traces, mm.")] = 0.28,
    font: Annotated[Path | None, typer.Option(help="A .ttf file instead of Aileron.")] = None,
    title: Annotated[str | None, typer.Option(help="First line; by default the record's name.")] = None,
    header: Annotated[list[str] | None, typer.Option(help="A further line; may be repeated.")] = None,
    measured: Annotated[bool, typer.Option(help="Print measurements, as an unconfirmed draft.")] = False,
    waves: Annotated[bool, typer.Option(help="Colour the measured waves.")] = False,
    defects: Annotated[
        str, typer.Option(help="Spoil it: light, medium, heavy, 0 to 1, or names, e.g. Creases:0.5+Shadow.")
    ] = "none",
    seed: Annotated[int, typer.Option(help="Of the chance in the defects.")] = 0,
    sampling_rate: SamplingRate = None,
    unit: Unit = None,
    leads: Leads = None,
    index: Index = None,
) -> None:
    """Draw an ECG on paper, in true millimetres."""
    from ecglm.image import draw_page, spoil
    from ecglm.io import read

    check_folder(out)
    ecg = read(record, **given(sampling_rate=sampling_rate, unit=unit, leads=leads, index=index))
    measurements = None
    if measured or waves:
        from ecglm.measure import measure

        measurements = measure(ecg)
    page = draw_page(
        ecg,
        layout,
        order=order,
        timing=timing,
        rhythm=rhythm or None,
        leads=lead or None,
        dpi=dpi,
        speed=speed,
        gain=gain,
        start=start,
        paper=paper,
        colours=colours,
        grid=grid,
        line_width=line_width,
        font=font,
        title=title,
        header=header or None,
        measurements=measurements if measured else None,
        overlay=measurements if waves else None,
    )
    page = spoil(page, defects, seed)
    page.save(out)
    for note in page.notes:
        typer.echo(f"{ecg.name}: {note}", err=True)
    typer.echo(out)


@app.command()
def inspect(
    files: Records,
    sampling_rate: SamplingRate = None,
    unit: Unit = None,
    leads: Leads = None,
    allow_truncated: AllowTruncated = False,
    index: Index = None,
    as_json: Json = False,
) -> None:
    """Say what ECG files are: format, leads, rate, units, what was assumed, warnings, checksums."""
    from ecglm.io.inspection import inspect

    hints = given(
        sampling_rate=sampling_rate, unit=unit, leads=leads, allow_truncated=allow_truncated, index=index
    )
    chosen = _each(files, index)
    alone = len(files) == len(chosen) == 1
    found, failed = [], 0
    for file, which in chosen:
        try:
            found.append(inspect(file, **hints | which) | which)
        except (ValueError, OSError) as error:
            if alone:
                raise
            failed += 1
            found.append({"file": file, "error": " ".join(str(error).split())} | which)
    if as_json:
        print_json(found[0] if alone else found)
    else:
        for number, each in enumerate(found):
            typer.echo("\n" * bool(number) + _describe(each))
    if failed:
        raise ValueError(f"{failed} of {len(chosen)} files cannot be read")


@app.command(name="convert-file")
def convert_file(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="ECG files, folders or RECORDS lists.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into, or one file.")],
    to: Annotated[str | None, typer.Option(help="wfdb, edf, dicom, aecg, csv or npz")] = None,
    overwrite: Annotated[bool, typer.Option(help="Write again what is there already.")] = False,
    sampling_rate: SamplingRate = None,
    unit: Unit = None,
    leads: Leads = None,
    start: Annotated[float | None, typer.Option(help="Seconds from the beginning.")] = None,
    stop: Annotated[float | None, typer.Option(help="Seconds from the beginning.")] = None,
    allow_truncated: AllowTruncated = False,
    index: Index = None,
    as_json: Json = False,
) -> None:
    """Convert ECG files to another format; a broken-off run goes on where it stopped."""
    from ecglm.io import read, write
    from ecglm.io.many import convert_files, format_of, sources

    hints = given(
        sampling_rate=sampling_rate,
        unit=unit,
        leads=leads,
        start=start,
        stop=stop,
        allow_truncated=allow_truncated,
        index=index,
    )
    if to is None:
        if not out.suffix or len(files) > 1 or files[0].is_dir() or out.is_dir():
            raise ValueError("--to is missing; give wfdb, edf, dicom, aecg, csv or npz")
        if format_of(out) is None:
            raise ValueError(
                f"{out.name!r} names no format that is written; end it in .hea, .edf, .dcm, .xml …"
            )
        if out.exists() and not overwrite:
            raise ValueError(f"{out} exists already; pass --overwrite or name another file")
        if out.exists() and files[0].exists() and out.samefile(files[0]):
            raise ValueError(f"{out} would overwrite itself; name another file")
        typer.echo(write(read(files[0], **hints), out))
        return
    found = list(sources(files, index=index))
    if not found:
        raise _nothing(files)
    try:
        with progress(len(found)) as tick:
            done = convert_files(
                found,
                out,
                to,
                overwrite=overwrite,
                on_progress=lambda source: tick(source.path.name),
                **hints,
            )
    except KeyboardInterrupt:
        typer.echo("ecglm: broken off; the same command goes on where it stopped", err=True)
        raise
    if as_json:
        print_json(
            {
                "written": list(map(str, done.written)),
                "skipped": list(map(str, done.skipped)),
                "failed": [{"file": file, "error": error} for file, error in done.failed],
            }
        )
    else:
        there = f", {len(done.skipped)} there already" if done.skipped else ""
        typer.echo(f"{out}  {len(done.written)} written{there}, {len(done.failed)} failed")
        for _, error in done.failed[:20]:
            typer.echo(f"  {error}", err=True)
        if len(done.failed) > 20:
            typer.echo(f"  … and {len(done.failed) - 20} more; --json lists all", err=True)
    if done.failed:
        total = len(done.written) + len(done.skipped) + len(done.failed)
        raise ValueError(f"{len(done.failed)} of {total} files were not converted")


@app.command()
def deidentify(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="ECG files, folders or RECORDS lists.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")],
    prefix: Annotated[str, typer.Option(help="New names are PREFIX-000001, PREFIX-000002 ….")] = "ecg",
    report: Annotated[Path | None, typer.Option(help="JSON file for what was removed from each.")] = None,
    sampling_rate: SamplingRate = None,
    unit: Unit = None,
    leads: Leads = None,
    index: Index = None,
    as_json: Json = False,
) -> None:
    """Copy ECGs without names, identifiers, dates and free text; the signal stays the same to the bit."""
    from ecglm.io.deidentify import deidentify
    from ecglm.io.many import Source, sources

    hints = given(sampling_rate=sampling_rate, unit=unit, leads=leads)
    found: list[Source] = []
    done, failed = [], []
    for file in files:
        try:
            found += sources(file, index=index)
        except (ValueError, OSError) as error:
            failed.append(error)
    if not found and not failed:
        raise _nothing(files)
    with progress(len(found)) as tick:
        for number, source in enumerate(found, start=1):
            try:
                which = {} if source.index is None else {"index": source.index}
                done.append(deidentify(source.path, out, f"{prefix}-{number:06d}", **hints, **which))
            except (ValueError, OSError) as error:
                failed.append(error)
            tick(source.path.name)
    document = [each.to_dict() for each in done]
    if report:
        report.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        print_json(document)
    else:
        for each in done:
            places = len(each.removed)
            typer.echo(f"{each.path}  from {each.source}, {places} place{'s' * (places != 1)} emptied")
        if done and not report:
            typer.echo("Which places: --report FILE.json or --json. They name the source files.", err=True)
    for error in failed[:20]:
        typer.echo(f"  {' '.join(str(error).split())}", err=True)
    if failed:
        raise ValueError(f"{len(failed)} of {len(done) + len(failed)} files were not written")


def _each(files: Sequence[str], index: int | None) -> list[tuple[str, dict[str, Any]]]:
    """Every recording that files, folders and RECORDS lists hold, and which one of its file it is."""
    from ecglm.io.many import sources

    found: list[tuple[str, dict[str, Any]]] = []
    for file in files:
        if Path(file).is_dir() or Path(file).name.startswith("RECORDS"):
            for each in sources(file, index=index):
                found.append((str(each.path), {} if each.index is None else {"index": each.index}))
        else:
            found.append((file, {}))
    if not found:
        raise _nothing(files)
    return found


def _nothing(files: Sequence[str | Path]) -> ValueError:
    return ValueError(f"there is no recording in {', '.join(map(str, files))}")


def _describe(found: dict[str, Any]) -> str:
    """One recording for people."""
    lines = [typer.style(found["file"], bold=True)]
    if "error" in found:
        return "\n".join([*lines, f"  cannot be read: {found['error']}"])
    num_leads = len(found["leads"])
    lines.append(
        f"  {found['format']}, {found['duration']:g} s at {found['sampling_rate']:g} Hz "
        f"({found['num_samples']:,} samples), {num_leads} lead{'s' * (num_leads != 1)}"
    )
    for lead in found["leads"]:
        span = "all unknown" if lead["lowest"] is None else f"{lead['lowest']:8.3f} … {lead['highest']:7.3f}"
        unknown = f"  {lead['unknown']:.1%} unknown" if 0 < lead["unknown"] < 1 else ""
        lines.append(f"    {lead['name']:10} {span} {lead['unit']}{unknown}")
    known = found["metadata"]
    facts = [
        f"{name} {known[name]}" for name in ("age", "sex", "acquired", "lead_placement") if name in known
    ]
    lines += [f"  {', '.join(facts)}"] if facts else []
    lines += [f"  assumed: {sentence}" for sentence in found["assumed"]]
    lines += [typer.style(f"  warning: {sentence}", fg="yellow") for sentence in found["warnings"]]
    lines += [
        f"  {each['name']}  {each['bytes']:,} bytes  sha256 {each['sha256']}" for each in found["files"]
    ]
    return "\n".join(lines)


def _print_measurements(documents: list[dict[str, Any]]) -> None:
    """A table of each record: our values, the device's beside them, quality, what is missing and why."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for number, document in enumerate(documents):
        if number:
            console.print()
        console.print(Text(document["title"], style="bold"), Text(document["about"]), sep="  ")
        table = Table(box=None, pad_edge=False)
        device = [document["device"]] if document["device"] else []
        for column, justify in (
            ("", "left"),
            ("ecglm", "right"),
            *((name, "right") for name in device),
            ("", "left"),
        ):
            table.add_column(Text(column), justify=justify)
        for name, ours, theirs, unit in document["values"]:
            table.add_row(name, ours, *([theirs] if device else []), unit)
        console.print(table)
        for note in document["notes"]:
            console.print(Text(note), soft_wrap=True)
