"""The manifest for people: one HTML page that needs nothing beside itself.

Guarantees: no script, nothing fetched, every word of a user's escaped; it holds no time of day, so the same bundle gives
the same page.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from fractions import Fraction
from html import escape

from contracts.manifest import Manifest, ManifestFile, QcFinding
from services.media.sidecars import Sidecar

CONTENT_TYPE = "text/html"

_SHOWN = ("poster", "contact_sheet", "waveform")
_NAMES = {"poster": "Poster", "contact_sheet": "Contact sheet", "waveform": "Waveform"}
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --pass: #2a8a4a; --warn: #b07400; --fail: #c0392b; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
img { max-width: 100%; height: auto; display: block; border-radius: 4px; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
.verdict { font-weight: 600; text-transform: uppercase; } .pass { color: var(--pass); } .warn { color: var(--warn); }
.fail { color: var(--fail); } code { font-size: .85em; }
"""


def html_report(manifest: Manifest, sidecars: Sequence[Sidecar]) -> bytes:
    """The page of a bundle; ``manifest`` names every file but the page itself."""
    verdict = manifest.qc.verdict.value
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
        f"<title>{escape(manifest.title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(manifest.title)}</h1>",
        (
            f"<p>Profile <code>{escape(manifest.profile.name)}@{manifest.profile.version}</code> · quality control: "
            f'<span class="verdict {verdict}">{verdict}</span></p>'
        ),
    ]
    pictures = {sidecar.role: sidecar for sidecar in sidecars if sidecar.role in _SHOWN}
    for role in _SHOWN:
        if role in pictures:
            parts += [f"<h2>{_NAMES[role]}</h2>", _picture(pictures[role], _NAMES[role])]
    parts += ["<h2>Quality control</h2>", _findings(manifest)]
    parts += ["<h2>Where it comes from</h2>", _pairs(_lineage(manifest))]
    parts += ["<h2>Files</h2>", _files(manifest.files)]
    parts += ["<h2>Made by</h2>", _pairs(sorted(manifest.tools.items())), "</body></html>", ""]
    return "\n".join(parts).encode()


def _picture(sidecar: Sidecar, name: str) -> str:
    told = dict(sidecar.facts)
    data = b64encode(sidecar.data).decode("ascii")
    size = f'width="{escape(told["width"])}" height="{escape(told["height"])}"'
    return f'<img alt="{name}" {size} src="data:{sidecar.content_type};base64,{data}">'


def _findings(manifest: Manifest) -> str:
    report = manifest.qc
    said = [
        ("Rules applied", str(len(report.checks))),
        ("Frames", str(report.frames)),
        ("Samples", str(report.samples)),
    ]
    loudness = report.loudness
    if loudness is not None:
        said += [
            ("Loudness", _level(loudness.integrated, "LUFS")),
            ("Loudness range", _level(loudness.range, "LU")),
            ("True peak", _level(loudness.true_peak, "dBTP")),
        ]
    if not report.findings:
        return _pairs(said) + "<p>Nothing was found.</p>"
    rows = [_finding(each) for each in report.findings]
    return _pairs(said) + _table(("Verdict", "Code", "What", "Where", "Measured", "Limit"), rows)


def _finding(finding: QcFinding) -> tuple[str, ...]:
    verdict = finding.verdict.value
    where = ""
    if finding.start is not None and finding.end is not None:
        where = f"{float(finding.start):.3f} to {float(finding.end):.3f} s"
    if finding.frames is not None:
        where += f"{', ' if where else ''}frames {finding.frames}"
    if finding.file:
        where += f"{', ' if where else ''}{finding.file}"
    return (
        f'<span class="verdict {verdict}">{verdict}</span>',
        f"<code>{escape(finding.code)}</code>",
        escape(finding.message),
        escape(where or "the whole clip"),
        escape(finding.measured),
        escape(finding.limit),
    )


def _level(value: float | None, unit: str) -> str:
    return "too little was heard to tell" if value is None else f"{value:.2f} {unit}"


def _lineage(manifest: Manifest) -> list[tuple[str, str]]:
    lineage = manifest.lineage
    said = [
        ("Clip", str(manifest.clip_id)),
        ("Trace", manifest.trace_id),
        ("Video", str(lineage.video_id)),
        ("Frames", f"{lineage.frames} at {_rate(lineage.rate)} frames a second"),
        ("Time", f"{float(lineage.start):.3f} s to {float(lineage.end):.3f} s"),
        ("Timecode", f"{lineage.start_timecode} to {lineage.end_timecode}"),
        ("Source", f"{lineage.source.key} · SHA-256 {lineage.source.sha256}"),
    ]
    if lineage.master is not None:
        said.append(("Master", f"{lineage.master.key} · SHA-256 {lineage.master.sha256}"))
    if lineage.master_frames_sha256 is not None:
        said.append(("Digest of the master's frames", lineage.master_frames_sha256))
    if manifest.tags:
        said.append(("Tags", ", ".join(manifest.tags)))
    return said


def _rate(rate: Fraction) -> str:
    return str(rate.numerator) if rate.denominator == 1 else f"{rate.numerator}/{rate.denominator}"


def _files(files: Iterable[ManifestFile]) -> str:
    rows = [
        (
            escape(file.role),
            escape(file.name),
            f"{file.size}",
            escape(_what(file)),
            f"<code>{file.sha256}</code>",
        )
        for file in files
    ]
    return _table(("Role", "Name", "Bytes", "What", "SHA-256"), rows)


def _what(file: ManifestFile) -> str:
    said = []
    if file.pictures is not None:
        pictures = file.pictures
        said.append(
            f"{pictures.codec} {pictures.width}x{pictures.height} {pictures.pixel_format}, {pictures.frames} frames"
        )
    if file.sound is not None:
        said.append(f"{file.sound.codec} {file.sound.sample_rate} Hz {file.sound.layout}")
    said += [f"{name} {value}" for name, value in sorted(file.facts.items())]
    return ", ".join(said)


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in pairs)
    return f"<table>{rows}</table>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
