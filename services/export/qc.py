"""Quality control of a rendition and its sidecars: which rules there are, where the lines are drawn, and what came of it.

Pure: everything judged here was measured while the frames and samples went by. Guarantees: every finding names its rule,
what was measured and what was due, and where in the clip that is; broken promises fail a bundle, doubtful content is a
warning, unless the limits document says otherwise; a limit is data, and an unknown word in the document is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from contracts.errors import Permanent
from contracts.manifest import Loudness, PictureStream, QcFinding, QcReport, SoundStream
from contracts.values import FrameRange, Rational, Value, Verdict
from services.media.measure import PictureLimits, SoundLimits
from services.media.profiles import Profile


@dataclass(frozen=True)
class Rule:
    """One thing that is checked: its name (``qc.<name>`` is the finding's code), what it costs, and what it says."""

    name: str
    verdict: Verdict
    kind: Literal["metadata", "content", "sidecars"]
    meaning: str

    @property
    def code(self) -> str:
        """The finding's code."""
        return f"qc.{self.name}"


RULES = (
    Rule("frame_count", Verdict.FAIL, "metadata", "The file holds another number of frames than the clip."),
    Rule("duration", Verdict.FAIL, "metadata", "The file lasts longer or shorter than the clip, by more than 1 ms."),
    Rule("rate", Verdict.FAIL, "metadata", "The file's frame rate is not the clip's."),
    Rule("codec", Verdict.FAIL, "metadata", "The pictures have another codec than the profile says."),
    Rule("picture_size", Verdict.FAIL, "metadata", "The pictures have another size than source and profile make."),
    Rule("pixel_format", Verdict.FAIL, "metadata", "The pictures have another pixel format than the profile says."),
    Rule("colour", Verdict.FAIL, "metadata", "Range, matrix, transfer or primaries are not tagged as meant."),
    Rule(
        "picture_difference", Verdict.FAIL, "metadata", "A decoded frame does not look like the one that was encoded."
    ),
    Rule("truncated", Verdict.FAIL, "metadata", "The container's own tables and the file do not agree: it is cut off."),
    Rule(
        "faststart",
        Verdict.FAIL,
        "metadata",
        "The profile promises an index before the samples, the file has it after.",
    ),
    Rule("sound_present", Verdict.FAIL, "metadata", "The source has sound and the file has none."),
    Rule("sound_codec", Verdict.FAIL, "metadata", "The sound has another codec than the profile says."),
    Rule("sound_rate", Verdict.FAIL, "metadata", "The sound has a sample rate that the profile does not allow."),
    Rule(
        "sound_layout", Verdict.FAIL, "metadata", "The sound has more channels than the profile allows, or no layout."
    ),
    Rule("sample_count", Verdict.FAIL, "metadata", "More or fewer samples were delivered than the clip lasts."),
    Rule("av_duration_gap", Verdict.FAIL, "metadata", "Pictures and sound end at different times."),
    Rule("black", Verdict.WARN, "content", "The picture is black for a while."),
    Rule("frozen", Verdict.WARN, "content", "The picture stands still for a while."),
    Rule("silence", Verdict.WARN, "content", "Nothing is heard for a while."),
    Rule("clipping", Verdict.WARN, "content", "Samples stay at full scale."),
    Rule("too_loud", Verdict.WARN, "content", "The integrated loudness (EBU R128) is above the limit."),
    Rule("too_quiet", Verdict.WARN, "content", "The integrated loudness (EBU R128) is below the limit."),
    Rule("true_peak", Verdict.WARN, "content", "The true peak (EBU R128) is above the limit."),
    Rule("loudness_target", Verdict.WARN, "content", "The loudness misses the profile's target, or peaks its ceiling."),
    Rule("sound_missing", Verdict.WARN, "content", "The source has no sound for a part of the clip; it was filled."),
    Rule("too_short", Verdict.WARN, "content", "The clip is shorter than the limit."),
    Rule("captions_readable", Verdict.WARN, "sidecars", "Captions of the source could not be read and were left out."),
    Rule(
        "caption_bounds",
        Verdict.FAIL,
        "sidecars",
        "A cue begins before the clip, or ends after it or before its start.",
    ),
    Rule("caption_order", Verdict.FAIL, "sidecars", "Cues do not stand in the order in which they are shown."),
    Rule(
        "caption_count",
        Verdict.FAIL,
        "sidecars",
        "A caption file reads back with another number of cues than was written.",
    ),
    Rule("sidecar_missing", Verdict.FAIL, "sidecars", "A file that belongs to every such bundle is not there."),
    Rule("sidecar_unreadable", Verdict.FAIL, "sidecars", "A sidecar does not parse as what it says it is."),
    Rule(
        "sidecar_size",
        Verdict.FAIL,
        "sidecars",
        "A picture has another size in pixels than was meant, or a file is empty.",
    ),
)
"""Every rule, in the order in which findings are told."""

_BY_NAME = {rule.name: rule for rule in RULES}


class QcLimits(Value):
    """Where QC draws its lines: a document, version 1.

    ``verdicts`` regrades rules by name: ``{"black": "fail", "frozen": "pass"}``; a rule that passes is not applied.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    verdicts: Annotated[dict[str, Verdict], Field(description="Another verdict for a rule, by its name.")] = Field(
        default_factory=dict
    )
    loudest: Annotated[float, Field(ge=-70, le=0, description="LUFS.")] = -9.0
    quietest: Annotated[float, Field(ge=-70, le=0, description="LUFS.")] = -45.0
    highest_peak: Annotated[float, Field(ge=-60, le=12, description="dBTP.")] = 0.0
    clipped: Annotated[int, Field(ge=0, description="Stretches at full scale that are let pass.")] = 0
    clipped_level: Annotated[float, Field(gt=0, le=1, description="Share of full scale that counts as full.")] = 0.9995
    clipped_run: Annotated[int, Field(ge=1, description="Samples in a row that make a stretch.")] = 3
    silence_level: Annotated[float, Field(ge=0, le=1, description="Share of full scale up to which it is silent.")] = (
        0.001
    )
    silence_seconds: Annotated[Rational, Field(description="Shortest silence that is told.")] = Fraction(2)
    black_pixel: Annotated[float, Field(ge=0, le=1, description="Share of the luma range up to which it is black.")] = (
        0.1
    )
    black_share: Annotated[float, Field(gt=0, le=1, description="Share of black pixels in a black picture.")] = 0.98
    black_seconds: Annotated[Rational, Field(description="Shortest black stretch that is told.")] = Fraction(1, 2)
    frozen_difference: Annotated[float, Field(ge=0, le=1, description="Mean difference that is none.")] = 0.001
    frozen_seconds: Annotated[Rational, Field(description="Shortest frozen stretch that is told.")] = Fraction(2)
    picture_difference: Annotated[
        float, Field(ge=0, le=1, description="Of the worst frame, from what was encoded.")
    ] = 0.1
    duration_gap: Annotated[Rational, Field(description="Seconds between the ends of pictures and sound.")] = Fraction(
        1, 50
    )
    duration_off: Annotated[Rational, Field(description="Seconds by which a file may miss the clip's length.")] = (
        Fraction(1, 1000)
    )
    rate_off: Annotated[Rational, Field(description="Share by which the frame rate may differ.")] = Fraction(1, 1000)
    sound_missing: Annotated[Rational, Field(description="Seconds of a clip for which the source has no sound.")] = (
        Fraction(1, 10)
    )
    shortest_seconds: Annotated[Rational, Field(description="Shorter clips are told; 0 lets every length pass.")] = (
        Fraction(0)
    )
    told: Annotated[int, Field(ge=1, description="Stretches that get a finding each, of one rule.")] = 20

    @model_validator(mode="after")
    def _names_rules(self) -> Self:
        unknown = sorted(set(self.verdicts) - set(_BY_NAME))
        if unknown:
            message = f"there is no rule called {', '.join(unknown)}; the rules are {', '.join(_BY_NAME)}"
            raise ValueError(message)
        return self

    def picture_limits(self) -> PictureLimits:
        """What the picture meter looks for."""
        return PictureLimits(
            black_pixel=self.black_pixel,
            black_share=self.black_share,
            black_seconds=self.black_seconds,
            frozen_difference=self.frozen_difference,
            frozen_seconds=self.frozen_seconds,
        )

    def sound_limits(self) -> SoundLimits:
        """What the sound meter looks for."""
        return SoundLimits(
            silence_level=self.silence_level,
            silence_seconds=self.silence_seconds,
            clipped_level=self.clipped_level,
            clipped_run=self.clipped_run,
        )


def limits_from(document: str, *, name: str = "The QC limits document") -> QcLimits:
    """The limits that a JSON document names; what it leaves out keeps its default.

    Raises ``Permanent`` with code ``qc.limits_invalid`` that says which word is wrong and why.
    """
    try:
        return QcLimits.model_validate_json(document)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'the document'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise Permanent(f"{name} does not hold: {said}. Correct it and try again.", code="qc.limits_invalid") from error


class Stretch(Value):
    """A part of the clip: seconds from its start, and the frames shown meanwhile, in the source's numbering."""

    start: Rational
    end: Rational
    frames: FrameRange


class Colours(Value):
    """Colour tags by name."""

    range: str = ""
    space: str = ""
    transfer: str = ""
    primaries: str = ""

    def __str__(self) -> str:
        return "/".join(part or "unsaid" for part in (self.range, self.space, self.transfer, self.primaries))


class CaptionFacts(Value):
    """What a caption file reads back as: times in milliseconds from the clip's start, in the file's order."""

    times: tuple[tuple[int, int], ...] = ()
    written: Annotated[int, Field(ge=0, description="Cues that were meant to be in it.")] = 0


class SidecarFacts(Value):
    """What a sidecar is, read from its own bytes before they are stored."""

    role: str
    name: str
    size: Annotated[int, Field(ge=0, description="Bytes.")]
    readable: bool = True
    picture: tuple[int, int] | None = None
    meant_picture: tuple[int, int] | None = None
    captions: CaptionFacts | None = None


class Measured(Value):
    """What was measured of one rendition and its sidecars."""

    expected_frames: int
    expected_duration: Rational
    expected_size: tuple[int, int]
    expected_colours: Colours | None = None
    expected_pixel_format: str = ""
    """What the profile makes of this source; empty where only the profile's own word counts."""
    expects_sound: bool
    expected_sidecars: tuple[str, ...] = ()
    """Roles of which the bundle has at least one file."""
    pictures: PictureStream
    sound: SoundStream | None = None
    faststart: bool = False
    whole: Annotated[bool, Field(description="Whether the container's own tables agree with the file.")] = True
    wholeness: Annotated[str, Field(description="What of the container's tables does not fit.")] = ""
    picture_difference: Annotated[
        float, Field(ge=0, le=1, description="Of the worst frame, from what was encoded.")
    ] = 0.0
    black: tuple[Stretch, ...] = ()
    frozen: tuple[Stretch, ...] = ()
    silence: tuple[Stretch, ...] = ()
    clipped: int = 0
    samples: int = 0
    loudness: Loudness | None = None
    sound_holes: tuple[Stretch, ...] = ()
    sidecars: tuple[SidecarFacts, ...] = ()
    unreadable_captions: tuple[str, ...] = ()


def judge(profile: Profile, measured: Measured, limits: QcLimits | None = None) -> QcReport:
    """What QC makes of a rendition."""
    limits = limits or QcLimits()
    applied = [rule for rule in RULES if limits.verdicts.get(rule.name) is not Verdict.PASS]
    raw = (*_metadata(profile, measured, limits), *_content(profile, measured, limits), *_sidecars(measured, limits))
    order = {rule.name: place for place, rule in enumerate(applied)}
    found = sorted((each for each in raw if each.rule in order), key=lambda each: order[each.rule])
    findings = [each.finding(limits.verdicts.get(each.rule, _BY_NAME[each.rule].verdict)) for each in found]
    verdicts = {finding.verdict for finding in findings}
    verdict = next((grade for grade in (Verdict.FAIL, Verdict.WARN) if grade in verdicts), Verdict.PASS)
    return QcReport(
        verdict=verdict,
        checks=tuple(rule.name for rule in applied),
        findings=tuple(findings),
        loudness=measured.loudness,
        frames=measured.pictures.frames,
        samples=measured.samples,
    )


@dataclass(frozen=True)
class _Found:
    rule: str
    message: str
    measured: object = ""
    limit: object = ""
    where: Stretch | None = None
    file: str = ""

    def finding(self, verdict: Verdict) -> QcFinding:
        where = self.where
        return QcFinding(
            code=_BY_NAME[self.rule].code,
            verdict=verdict,
            message=self.message,
            frames=where.frames if where else None,
            start=where.start if where else None,
            end=where.end if where else None,
            measured=str(self.measured),
            limit=str(self.limit),
            file=self.file,
        )


def _metadata(profile: Profile, measured: Measured, limits: QcLimits) -> Iterator[_Found]:
    pictures = measured.pictures
    if pictures.frames != measured.expected_frames:
        yield _Found(
            "frame_count", "The file does not hold the clip's frames.", pictures.frames, measured.expected_frames
        )
    if abs(pictures.duration - measured.expected_duration) > limits.duration_off:
        yield _Found(
            "duration",
            "The file does not last as long as the clip.",
            _seconds(pictures.duration),
            _seconds(measured.expected_duration),
        )
    meant_rate = measured.expected_frames / measured.expected_duration
    if abs(pictures.rate - meant_rate) > limits.rate_off * meant_rate:
        yield _Found("rate", "The file has another frame rate than the clip.", f"{pictures.rate}", f"{meant_rate}")
    if pictures.codec != profile.video.codec:
        yield _Found(
            "codec", "The pictures have another codec than the profile says.", pictures.codec, profile.video.codec
        )
    if (pictures.width, pictures.height) != measured.expected_size:
        yield _Found(
            "picture_size",
            "The pictures have another size.",
            f"{pictures.width}x{pictures.height}",
            "{}x{}".format(*measured.expected_size),
        )
    formats = profile.video.pixel_formats
    if formats and pictures.pixel_format not in formats:
        yield _Found(
            "pixel_format",
            "The pictures have another pixel format than the profile says.",
            pictures.pixel_format,
            " or ".join(formats),
        )
    colours = Colours(
        range=pictures.color_range,
        space=pictures.color_space,
        transfer=pictures.color_transfer,
        primaries=pictures.color_primaries,
    )
    if measured.expected_colours is not None and colours != measured.expected_colours:
        yield _Found("colour", "The pictures are tagged with other colours.", colours, measured.expected_colours)
    most = 0.0 if profile.lossless else limits.picture_difference
    if measured.picture_difference > most:
        yield _Found(
            "picture_difference",
            "A frame does not look like the one that was encoded.",
            measured.picture_difference,
            most,
        )
    if not measured.whole:
        yield _Found("truncated", f"The file is not whole: {measured.wholeness}.", "cut off", "whole")
    if "+faststart" in dict(profile.container_options).get("movflags", "") and not measured.faststart:
        yield _Found("faststart", "The file's index stands after its samples.", "at the end", "at the front")
    yield from _sound_metadata(profile, measured, limits)


def _sound_metadata(profile: Profile, measured: Measured, limits: QcLimits) -> Iterator[_Found]:
    sound = measured.sound
    if sound is None:
        if measured.expects_sound:
            yield _Found("sound_present", "The source has sound, the file has none.", "no sound", "sound")
        return
    if sound.codec != profile.audio.codec:
        yield _Found(
            "sound_codec", "The sound has another codec than the profile says.", sound.codec, profile.audio.codec
        )
    allowed = profile.audio.sample_rates
    if allowed and sound.sample_rate not in allowed:
        yield _Found(
            "sound_rate",
            "The sound has a sample rate that the profile does not allow.",
            f"{sound.sample_rate} Hz",
            ", ".join(f"{rate} Hz" for rate in allowed),
        )
    if profile.audio.max_channels and sound.channels > profile.audio.max_channels:
        message = "The sound has more channels than the profile allows."
        yield _Found("sound_layout", message, sound.channels, profile.audio.max_channels)
    elif not sound.layout or "channels" in sound.layout:
        yield _Found(
            "sound_layout", "The sound does not say how its channels lie.", sound.layout or "unsaid", "a layout"
        )
    due = measured.expected_duration * sound.sample_rate
    if measured.samples and abs(measured.samples - due) > 1:
        yield _Found("sample_count", "The sound is not as long as the clip.", measured.samples, round(due))
    gap = abs(sound.duration - measured.pictures.duration)
    if gap > limits.duration_gap:
        yield _Found(
            "av_duration_gap",
            "Pictures and sound end at different times.",
            _seconds(gap),
            _seconds(limits.duration_gap),
        )


def _content(profile: Profile, measured: Measured, limits: QcLimits) -> Iterator[_Found]:
    for rule, message, stretches, least in (
        ("black", "The picture is black.", measured.black, limits.black_seconds),
        ("frozen", "The picture stands still.", measured.frozen, limits.frozen_seconds),
        ("silence", "Nothing is heard.", measured.silence, limits.silence_seconds),
    ):
        for where in stretches[: limits.told]:
            yield _Found(rule, message, _seconds(where.end - where.start), _seconds(least), where)
    if measured.clipped > limits.clipped:
        yield _Found(
            "clipping", "Samples stay at full scale.", f"{measured.clipped} stretches", f"{limits.clipped} stretches"
        )
    holes = measured.sound_holes
    missing = sum((hole.end - hole.start for hole in holes), Fraction(0))
    for hole in holes[: limits.told] if missing > limits.sound_missing else ():
        yield _Found(
            "sound_missing",
            f"The source has no sound from {_seconds(hole.start)} to {_seconds(hole.end)} of the clip; it was filled "
            f"with silence (such stretches in all: {len(holes)}).",
            f"{_seconds(missing)} in all",
            f"{_seconds(limits.sound_missing)} in all",
            hole,
        )
    loudness = measured.loudness
    if loudness is not None and loudness.integrated is not None:
        level = loudness.integrated
        if level > limits.loudest:
            yield _Found("too_loud", "The clip is very loud.", f"{level} LUFS", f"{limits.loudest} LUFS")
        if level < limits.quietest:
            yield _Found("too_quiet", "The clip is very quiet.", f"{level} LUFS", f"{limits.quietest} LUFS")
    if loudness is not None and loudness.true_peak is not None and loudness.true_peak > limits.highest_peak:
        yield _Found(
            "true_peak", "Peaks exceed the limit.", f"{loudness.true_peak} dBTP", f"{limits.highest_peak} dBTP"
        )
    yield from _off_target(profile, loudness)
    if measured.expected_duration < limits.shortest_seconds:
        yield _Found(
            "too_short",
            "The clip is very short.",
            _seconds(measured.expected_duration),
            _seconds(limits.shortest_seconds),
        )


def _off_target(profile: Profile, loudness: Loudness | None) -> Iterator[_Found]:
    target = profile.loudness
    if target is None or loudness is None:
        return
    level, peak = loudness.integrated, loudness.true_peak
    if level is not None and abs(level - target.integrated) > target.tolerance:
        why = (
            " Its peaks allow no more." if level < target.integrated and peak and peak > target.true_peak - 0.5 else ""
        )
        yield _Found(
            "loudness_target",
            f"The sound is not as loud as the profile asks.{why}",
            f"{level} LUFS",
            f"{target.integrated} ± {target.tolerance} LUFS",
        )
    # Meters differ by a tenth from one sample phase to another.
    if peak is not None and peak > target.true_peak + 0.1:
        yield _Found(
            "loudness_target", "A peak is above the profile's ceiling.", f"{peak} dBTP", f"{target.true_peak} dBTP"
        )


def _sidecars(measured: Measured, _limits: QcLimits) -> Iterator[_Found]:
    for name in measured.unreadable_captions:
        message = f"The source's captions ({name}) could not be read and were left out."
        yield _Found("captions_readable", message, "unreadable", "readable")
    present = {sidecar.role for sidecar in measured.sidecars}
    for role in measured.expected_sidecars:
        if role not in present:
            yield _Found("sidecar_missing", f"The bundle has no file of the role {role}.", "none", "one or more")
    length = int(measured.expected_duration * 1000 + 1)
    for sidecar in measured.sidecars:
        if not sidecar.readable:
            message = f"{sidecar.name} does not parse as what it says it is."
            yield _Found("sidecar_unreadable", message, "unreadable", "readable", file=sidecar.name)
        if sidecar.size == 0 and not (sidecar.captions is not None and sidecar.captions.written == 0):
            yield _Found("sidecar_size", f"{sidecar.name} is empty.", "0 bytes", "some bytes", file=sidecar.name)
        if sidecar.meant_picture is not None and sidecar.readable and sidecar.picture != sidecar.meant_picture:
            size = "{}x{}".format(*sidecar.picture) if sidecar.picture else "no picture"
            meant = "{}x{}".format(*sidecar.meant_picture)
            yield _Found("sidecar_size", f"{sidecar.name} has another size.", size, meant, file=sidecar.name)
        if sidecar.captions is not None:
            yield from _captions(sidecar.name, sidecar.captions, length)


def _captions(name: str, captions: CaptionFacts, length: int) -> Iterator[_Found]:
    for start, end in captions.times:
        if start < 0 or end > length or end <= start:
            yield _Found(
                "caption_bounds",
                f"A cue of {name} does not lie within the clip.",
                f"{start} ms to {end} ms",
                f"0 ms to {length} ms",
                file=name,
            )
            break
    if list(captions.times) != sorted(captions.times):
        yield _Found("caption_order", f"The cues of {name} are not in order.", "out of order", "by start", file=name)
    if len(captions.times) != captions.written:
        message = f"{name} reads back with another number of cues."
        yield _Found("caption_count", message, len(captions.times), captions.written, file=name)


def failures(report: QcReport) -> Sequence[QcFinding]:
    """The findings for which a bundle is not published."""
    return [finding for finding in report.findings if finding.verdict is Verdict.FAIL]


def _seconds(value: Fraction) -> str:
    return f"{float(value):.4f} s"
