"""Delivery profiles as data: what a deliverable's video and audio are, by name and version.

Why it exists: a profile is a promise to whoever receives the file. Changing what a profile makes raises its version, so
that a manifest always says which promise was kept. The house's own profiles are documents in ``catalogue/``; others are
documents of the same shape, in TOML or JSON. Guarantees: a document that contradicts itself is refused with one plain
sentence for each fault; nothing in here touches a codec, so a service may read profiles without loading one.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from contracts.errors import Permanent
from contracts.values import ProfileName, Value

RENDER_VERSION = 8
"""Raised whenever rendering makes other bytes of the same input, profile and library versions."""

SCHEMA_VERSION = 1
"""Of the documents: raised when their shape changes so that an older reader would misread one."""

CATALOGUE = Path(__file__).parent / "catalogue"
LARGEST_DOCUMENT = 64 * 1024
"""Bytes that a profile document may have."""

Container = Literal["mp4", "mov", "matroska"]
VideoEncoder = Literal["libx264", "libx265", "libsvtav1", "prores_ks", "prores_aw", "ffv1"]
AudioEncoder = Literal["aac", "libopus", "flac", "pcm_s16le", "pcm_s24le"]


@dataclass(frozen=True)
class EncoderFacts:
    """What a profile may say to a video encoder.

    ``options`` are the encoder's own; ``params`` are those it takes in one string called ``params_in``. ``fixed`` is always
    said, because the same bytes again depend on it; ``rated`` is said last, and only where a bit rate is asked for or bounded.
    ``crf`` and ``rate`` tell whether quality or a bit rate can be asked for.
    """

    codec: str
    formats: frozenset[str]
    options: frozenset[str]
    fixed: tuple[tuple[str, str], ...] = ()
    params_in: str = ""
    params: frozenset[str] = frozenset()
    fixed_params: tuple[tuple[str, str], ...] = ()
    rated: tuple[tuple[str, str], ...] = ()
    crf: tuple[float, float] | None = None
    rate: bool = False


_X26X_FORMATS = frozenset({"yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"})
_PRORES_FORMATS = frozenset({"yuv422p10le", "yuv444p10le"})
ENCODERS: Mapping[str, EncoderFacts] = MappingProxyType(
    {
        "libx264": EncoderFacts(
            codec="h264",
            formats=_X26X_FORMATS,
            options=frozenset(
                {"preset", "tune", "profile", "level", "threads", "bf", "refs", "aq-mode", "rc-lookahead"}
            ),
            # The thread count is part of the promise: frame-threaded x264 gives other bytes for another number of threads.
            fixed=(("threads", "4"),),
            # Its newest instructions for weighing blocks by what refers to them give other bytes from run to run
            # (seen on a processor with AVX-512: up to half of the runs); those that every processor shares do not.
            params_in="x264-params",
            fixed_params=(("cpu-independent", "1"),),
            # What a rate leaves for a frame depends on how far other threads happen to be: with four of them no two runs agreed.
            rated=(("threads", "1"),),
            crf=(0, 51),
            rate=True,
        ),
        "libx265": EncoderFacts(
            codec="hevc",
            formats=_X26X_FORMATS | {"yuv420p12le", "yuv422p12le", "yuv444p12le"},
            options=frozenset({"preset", "tune", "profile"}),
            params_in="x265-params",
            params=frozenset(
                {
                    "aq-mode",
                    "bframes",
                    "ctu",
                    "frame-threads",
                    "level-idc",
                    "high-tier",
                    "pools",
                    "psy-rd",
                    "rc-lookahead",
                    "ref",
                }
            ),
            # As for x264; the informative SEI would name the machine's instruction sets.
            fixed_params=(("frame-threads", "2"), ("info", "0"), ("log-level", "none"), ("pools", "4")),
            rated=(("frame-threads", "1"), ("pools", "none")),
            crf=(0, 51),
            rate=True,
        ),
        "libsvtav1": EncoderFacts(
            codec="av1",
            formats=frozenset({"yuv420p", "yuv420p10le"}),
            options=frozenset({"preset"}),
            # A misspelt parameter is an error, not a warning that nobody reads.
            fixed=(("err_detect", "explode"),),
            params_in="svtav1-params",
            params=frozenset(
                {
                    "film-grain",
                    "film-grain-denoise",
                    "lookahead",
                    "lp",
                    "tune",
                    "enable-qm",
                    "tile-columns",
                    "tile-rows",
                }
            ),
            fixed_params=(("lp", "2"),),
            rated=(("lp", "1"),),
            crf=(1, 63),
            rate=True,
        ),
        "prores_ks": EncoderFacts(
            codec="prores",
            formats=_PRORES_FORMATS,
            options=frozenset({"profile", "vendor", "bits_per_mb", "threads"}),
            fixed=(("threads", "4"),),
        ),
        "prores_aw": EncoderFacts(
            codec="prores",
            formats=_PRORES_FORMATS,
            options=frozenset({"profile", "vendor", "threads"}),
            fixed=(("threads", "4"),),
        ),
        "ffv1": EncoderFacts(
            codec="ffv1",
            formats=frozenset(),
            options=frozenset({"coder", "context", "g", "level", "slicecrc", "slices", "threads"}),
            fixed=(("threads", "4"),),
        ),
    }
)
"""The video encoders; one without formats takes whatever the source has."""

_AUDIO_CODECS: Mapping[str, str] = MappingProxyType(
    {"aac": "aac", "libopus": "opus", "flac": "flac", "pcm_s16le": "pcm_s16le", "pcm_s24le": "pcm_s24le"}
)
_SAMPLE_FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "aac": ("fltp",),
        "libopus": ("flt", "s16"),
        "flac": ("s32", "s16"),
        "pcm_s16le": ("s16",),
        "pcm_s24le": ("s32",),
    }
)
_SAMPLE_RATES: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "aac": frozenset(
            {96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000}
        ),
        "libopus": frozenset({48_000, 24_000, 16_000, 12_000, 8_000}),
    }
)
"""Rates that an encoder takes; one that is not listed takes any."""

_CARRIES: dict[str, frozenset[str]] = {
    "mp4": frozenset({"libx264", "libx265", "libsvtav1", "aac"}),
    "mov": frozenset({"libx264", "libx265", "prores_ks", "prores_aw", "aac", "pcm_s16le", "pcm_s24le"}),
    "matroska": frozenset(
        {"libx264", "libx265", "libsvtav1", "ffv1", "prores_ks", "prores_aw", "aac", "flac", "libopus"}
    ),
}
"""The encoders whose streams each container takes; the muxers refuse or mangle the others."""

_CONTAINER_OPTIONS: dict[str, frozenset[str]] = {
    "mp4": frozenset({"movflags", "movie_timescale"}),
    "mov": frozenset({"movflags", "movie_timescale"}),
    "matroska": frozenset(),
}
"""The muxer options that a profile may set. The library only warns of a misspelt one, so they are checked here."""

_TAGS: Mapping[tuple[str, str], str] = MappingProxyType({("mp4", "libx265"): "hvc1", ("mov", "libx265"): "hvc1"})
"""Sample entries that differ from the muxer's own choice: players of one large maker show H.265 under this name only."""

_CONTENT_TYPES: dict[str, str] = {"mp4": "video/mp4", "mov": "video/quicktime", "matroska": "video/x-matroska"}
_EXTENSIONS: dict[str, str] = {"mp4": "mp4", "mov": "mov", "matroska": "mkv"}


def _as_pairs(said: object) -> object:
    """Options may be written as a table; a document then gives the same fingerprint in whatever order it was written."""
    if isinstance(said, Mapping):
        return tuple(sorted((str(name), _as_text(value)) for name, value in said.items()))
    return said


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


OptionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
OptionText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+._,-]{1,100}$")]
Options = Annotated[tuple[tuple[OptionName, OptionText], ...], BeforeValidator(_as_pairs)]


def _refuse(faults: Iterable[PydanticCustomError]) -> None:
    """Raises one error that says all that is wrong between the fields of a part."""
    said = "; ".join(fault.message() for fault in faults)
    if said:
        raise PydanticCustomError("contradiction", "{said}", {"said": said})


def _fault(code: str, message: str, **facts: object) -> PydanticCustomError:
    return PydanticCustomError(code, message, facts)


class _Strict(Value):
    """A value in which an unknown field is a fault: a misspelt one would be a promise that nobody keeps."""

    model_config = ConfigDict(extra="forbid")


class VideoEncoding(_Strict):
    """How frames become a stream.

    ``pixel_format`` of ``None`` keeps the source's; sources of more than 8 bits take ``deep_pixel_format`` where there is one.
    ``longest_side`` and ``shortest_side`` cap the picture as displayed, so a portrait clip gets the same budget as a
    landscape one; a picture is never enlarged. Quality is a ``crf`` or a ``bit_rate``, and ``max_bit_rate`` bounds its peaks.
    """

    encoder: VideoEncoder
    codec: Annotated[str, Field(description="What a probe of the result reports; the encoder decides it.")] = ""
    pixel_format: str | None = None
    deep_pixel_format: Annotated[str | None, Field(description="For sources of more than 8 bits.")] = None
    crf: Annotated[float | None, Field(description="Constant quality; lower is better and larger.")] = None
    bit_rate: Annotated[int | None, Field(ge=50_000, le=2_000_000_000, description="Bits a second, on average.")] = None
    max_bit_rate: Annotated[
        int | None, Field(ge=50_000, le=2_000_000_000, description="Bits a second over any two seconds.")
    ] = None
    options: Annotated[Options, Field(description="Encoder options; a misspelt one makes the render fail.")] = ()
    longest_side: Annotated[int | None, Field(ge=16, le=16384, description="Pixels.")] = None
    shortest_side: Annotated[int | None, Field(ge=16, le=16384, description="Pixels.")] = None
    highest_rate: Annotated[
        int | None, Field(ge=1, le=1000, description="Frames a second above which a source is refused.")
    ] = None
    keyframe_seconds: Annotated[int | None, Field(ge=1, le=20, description="Longest wait for a key frame.")] = None
    square_pixels: Annotated[
        bool, Field(description="Whether the sample aspect ratio is applied, not only tagged.")
    ] = True
    deinterlace: Annotated[bool, Field(description="One progressive frame for each interlaced one.")] = True
    standard_range: Annotated[
        bool, Field(description="Whether HDR is brought to 8-bit BT.709, and full range to limited.")
    ] = True
    keeps_hdr: Annotated[
        bool, Field(description="Whether HDR and wide gamut stay what they are, with their static metadata.")
    ] = False

    @model_validator(mode="before")
    @classmethod
    def _codec_follows(cls, said: Any) -> Any:
        if isinstance(said, Mapping) and not said.get("codec") and said.get("encoder") in ENCODERS:
            return {**said, "codec": ENCODERS[said["encoder"]].codec}
        return said

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        _refuse(self._faults(ENCODERS[self.encoder]))
        return self

    def _faults(self, facts: EncoderFacts) -> Iterator[PydanticCustomError]:
        if self.codec != facts.codec:
            yield _fault(
                "codec",
                "{encoder} makes {codec}; leave codec out, or say that",
                encoder=self.encoder,
                codec=facts.codec,
            )
        if self.longest_side and self.shortest_side and self.shortest_side > self.longest_side:
            yield _fault("caps", "shortest_side is at most longest_side")
        yield from self._format_faults(facts)
        yield from self._quality_faults(facts)
        said = [name for name, _ in self.options]
        if len(set(said)) != len(said):
            yield _fault("option_twice", "an encoder option is given once")
        reserved = {"crf", "b", "maxrate", "bufsize", "g", "pix_fmt"} - facts.options
        for name in said:
            if name in reserved:
                yield _fault(
                    "option_reserved",
                    "the option {name} has a field of its own: crf, bit_rate, max_bit_rate, keyframe_seconds or pixel_format",
                    name=name,
                )
            if name not in facts.options | facts.params:
                known = ", ".join(sorted(facts.options | facts.params))
                yield _fault(
                    "option_unknown",
                    "a profile may not set {name} of {encoder}; it may set {known}",
                    name=name,
                    encoder=self.encoder,
                    known=known,
                )

    def _format_faults(self, facts: EncoderFacts) -> Iterator[PydanticCustomError]:
        for said in (self.pixel_format, self.deep_pixel_format):
            if said is not None and said not in facts.formats:
                known = ", ".join(sorted(facts.formats)) or "the source's own only (leave pixel_format out)"
                yield _fault(
                    "pixel_format",
                    "{encoder} takes no {said}; it takes {known}",
                    encoder=self.encoder,
                    said=said,
                    known=known,
                )
        if self.pixel_format is None and (self.deep_pixel_format or facts.formats):
            yield _fault(
                "pixel_format", "{encoder} needs a pixel_format; only ffv1 keeps the source's", encoder=self.encoder
            )
        if self.keeps_hdr and "10" not in (self.deep_pixel_format or self.pixel_format or ""):
            yield _fault(
                "hdr_depth", "keeps_hdr needs a pixel format of 10 bits: set deep_pixel_format, for example yuv420p10le"
            )
        if self.keeps_hdr and not self.standard_range:
            yield _fault(
                "hdr_range", "keeps_hdr says nothing where standard_range is off: then every range is kept anyway"
            )

    def _quality_faults(self, facts: EncoderFacts) -> Iterator[PydanticCustomError]:
        if self.crf is not None and self.bit_rate is not None:
            yield _fault("quality_twice", "say crf or bit_rate, not both")
        if facts.crf is None and self.crf is not None:
            yield _fault("crf", "{encoder} knows no crf", encoder=self.encoder)
        if facts.crf is not None and self.crf is not None and not facts.crf[0] <= self.crf <= facts.crf[1]:
            yield _fault(
                "crf",
                "the crf of {encoder} lies between {low} and {high}",
                encoder=self.encoder,
                low=facts.crf[0],
                high=facts.crf[1],
            )
        if not facts.rate and (self.bit_rate is not None or self.max_bit_rate is not None):
            yield _fault(
                "bit_rate", "{encoder} takes no bit rate; its profile option decides the size", encoder=self.encoder
            )
        if facts.rate and self.crf is None and self.bit_rate is None:
            yield _fault("quality_missing", "say a crf or a bit_rate for {encoder}", encoder=self.encoder)
        if self.bit_rate and self.max_bit_rate and self.max_bit_rate < self.bit_rate:
            yield _fault("max_bit_rate", "max_bit_rate is at least bit_rate")

    @property
    def pixel_formats(self) -> tuple[str, ...]:
        """The pixel formats that a file of the profile may have; none named means the source's."""
        return tuple(name for name in (self.pixel_format, self.deep_pixel_format) if name is not None)

    def pixel_format_for(self, bits: int) -> str | None:
        """The pixel format for a source of so many bits a sample; ``None`` keeps the source's."""
        if self.deep_pixel_format is not None and bits > 8:
            return self.deep_pixel_format
        return self.pixel_format

    def encoder_options(
        self, *, params: Iterable[tuple[str, str]] = (), unless_said: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, str]:
        """Everything that is said to the encoder, but for what depends on the frame rate.

        ``params`` are added to its own, and ``unless_said`` is what it is told where the profile says nothing.
        """
        facts = ENCODERS[self.encoder]
        options = dict(facts.fixed)
        if self.crf is not None:
            options["crf"] = f"{self.crf:g}"
        if self.bit_rate is not None:
            options["b"] = str(self.bit_rate)
        if self.max_bit_rate is not None:
            options["maxrate"] = str(self.max_bit_rate)
            options["bufsize"] = str(2 * self.max_bit_rate)
        rated = facts.rated if self.bit_rate is not None or self.max_bit_rate is not None else ()
        said = dict((*unless_said.items(), *self.options, *rated))
        options |= {name: value for name, value in said.items() if name not in facts.params}
        all_params = dict(facts.fixed_params)
        all_params |= {name: value for name, value in said.items() if name in facts.params}
        all_params |= dict(params)
        if all_params:
            options[facts.params_in] = ":".join(f"{name}={value}" for name, value in sorted(all_params.items()))
        return options


class AudioEncoding(_Strict):
    """How samples become a stream.

    A source rate that is not allowed is resampled to the first of ``sample_rates``; an empty tuple keeps every rate.
    ``max_channels`` of ``None`` keeps the layout. ``fade_milliseconds`` is how long sound swells and ebbs at the cut edges.
    """

    encoder: AudioEncoder
    codec: str = ""
    bit_rate_per_channel: Annotated[int | None, Field(ge=8_000, le=512_000, description="Bits a second.")] = None
    sample_format: str = ""
    sample_rates: tuple[Annotated[int, Field(ge=8_000, le=192_000)], ...] = ()
    max_channels: Annotated[int | None, Field(ge=1, le=8)] = None
    fade_milliseconds: Annotated[float, Field(ge=0, le=5)] = 0
    options: Options = ()

    @model_validator(mode="before")
    @classmethod
    def _codec_follows(cls, said: Any) -> Any:
        if not isinstance(said, Mapping) or said.get("encoder") not in _AUDIO_CODECS:
            return said
        found = dict(said)
        found["codec"] = said.get("codec") or _AUDIO_CODECS[said["encoder"]]
        found["sample_format"] = said.get("sample_format") or _SAMPLE_FORMATS[said["encoder"]][0]
        return found

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        _refuse(self._faults())
        return self

    def _faults(self) -> Iterator[PydanticCustomError]:
        if self.codec != _AUDIO_CODECS[self.encoder]:
            yield _fault(
                "codec",
                "{encoder} makes {codec}; leave codec out, or say that",
                encoder=self.encoder,
                codec=_AUDIO_CODECS[self.encoder],
            )
        if self.sample_format not in _SAMPLE_FORMATS[self.encoder]:
            yield _fault(
                "sample_format",
                "{encoder} takes samples as {known}",
                encoder=self.encoder,
                known=" or ".join(_SAMPLE_FORMATS[self.encoder]),
            )
        takes = _SAMPLE_RATES.get(self.encoder)
        if takes is not None and (not self.sample_rates or not takes.issuperset(self.sample_rates)):
            known = ", ".join(str(rate) for rate in sorted(takes, reverse=True))
            yield _fault(
                "sample_rates",
                "{encoder} takes some rates only: list sample_rates out of {known}",
                encoder=self.encoder,
                known=known,
            )
        if self.bit_rate_per_channel is not None and self.encoder not in ("aac", "libopus"):
            yield _fault("bit_rate", "{encoder} is lossless and takes no bit rate", encoder=self.encoder)
        if self.options:
            yield _fault("option_unknown", "a profile may not set options of {encoder}", encoder=self.encoder)


class LoudnessTarget(_Strict):
    """How loud the delivered sound is to be (EBU R128), reached by one gain over the whole clip.

    The gain is cut so that the true peak stays at or under ``true_peak``; nothing is compressed.
    """

    integrated: Annotated[float, Field(ge=-40, le=-8, description="LUFS.")]
    true_peak: Annotated[float, Field(ge=-12, le=0, description="dBTP that the gain may not lift a peak above.")] = -1.0
    tolerance: Annotated[float, Field(gt=0, le=6, description="LU off the target that are let pass.")] = 1.0


class Profile(_Strict):
    """One named, versioned kind of deliverable."""

    schema_version: Annotated[Literal[1], Field(alias="schema", description="Of the document's shape.")] = 1
    name: ProfileName
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    purpose: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    container: Container
    container_options: Options = ()
    video: VideoEncoding
    audio: AudioEncoding
    loudness: LoudnessTarget | None = None
    lossless: bool = False

    @model_validator(mode="before")
    @classmethod
    def _schema_by_either_name(cls, said: Any) -> Any:
        if isinstance(said, Mapping) and "schema_version" in said:
            return {("schema" if name == "schema_version" else name): value for name, value in said.items()}
        return said

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        _refuse(self._faults())
        return self

    def _faults(self) -> Iterator[PydanticCustomError]:
        for encoder in (self.video.encoder, self.audio.encoder):
            if encoder not in _CARRIES[self.container]:
                known = ", ".join(sorted(_CARRIES[self.container]))
                yield _fault(
                    "container",
                    "{container} does not carry {encoder}; it carries {known}",
                    container=self.container,
                    encoder=encoder,
                    known=known,
                )
        for name, _ in self.container_options:
            if name not in _CONTAINER_OPTIONS[self.container]:
                yield _fault(
                    "container_option",
                    "{container} has no option called {name} that a profile may set",
                    container=self.container,
                    name=name,
                )
        if self.lossless and (self.video.standard_range or self.video.deinterlace or self.video.pixel_format):
            yield _fault(
                "lossless",
                "a lossless profile changes no pixel: no pixel format, no deinterlacing, no range conversion",
            )
        if self.lossless and (
            self.loudness or self.audio.fade_milliseconds or self.audio.encoder in ("aac", "libopus")
        ):
            yield _fault(
                "lossless", "a lossless profile changes no sample: no loudness target, no fades, no lossy codec"
            )

    @property
    def extension(self) -> str:
        """File name extension, without the dot."""
        return _EXTENSIONS[self.container]

    @property
    def content_type(self) -> str:
        """MIME type of the file."""
        return _CONTENT_TYPES[self.container]

    @property
    def sample_entry(self) -> str | None:
        """The four letters under which the container files the pictures, where the muxer's own choice is not meant."""
        return _TAGS.get((self.container, self.video.encoder))

    @property
    def label(self) -> str:
        """Name and version in one word, for logs and manifests: ``delivery-h264@1``."""
        return f"{self.name}@{self.version}"

    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything the profile says: it changes whenever the bytes may."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode()).hexdigest()

    def document(self) -> dict[str, Any]:
        """The profile as a document: options as tables, and nothing that is merely a default."""
        said = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for part in (said, said["video"], said["audio"]):
            for name in ("options", "container_options"):
                if name in part:
                    part[name] = dict(part[name])
            part.pop("codec", None)
        if self.audio.sample_format == _SAMPLE_FORMATS[self.audio.encoder][0]:
            said["audio"].pop("sample_format", None)
        return {"schema": self.schema_version, **said}


class ProfileInvalid(Permanent):
    """A profile document that cannot be used; ``faults`` holds ``(where, what is wrong)`` for each fault."""

    code = "profile.invalid"

    def __init__(self, origin: str, faults: Iterable[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        said = "; ".join(f"{where}: {what}" if where else what for where, what in self.faults)
        super().__init__(
            f"{origin} is no valid export profile: {said}. Correct it; heaters profiles check FILE tells what is left."
        )


def read_profile(data: bytes, *, origin: str, form: Literal["toml", "json"] | None = None) -> Profile:
    """The profile that a document describes. ``form`` of ``None`` takes what begins with a brace for JSON, all else for TOML.

    Raises:
        ProfileInvalid: ``profile.invalid``, with a sentence for each fault.
    """
    if len(data) > LARGEST_DOCUMENT:
        raise ProfileInvalid(origin, [("", f"it has {len(data)} bytes, and {LARGEST_DOCUMENT} are the most")])
    try:
        text = data.decode("utf-8-sig")
        as_json = form == "json" or (form is None and text.lstrip().startswith("{"))
        said = json.loads(text) if as_json else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if form == "json" else "TOML" if form == "toml" else "TOML or JSON"
        raise ProfileInvalid(origin, [("", f"it is no {kind} ({str(error)[:200]})")]) from error
    return profile_from(said, origin=origin)


def profile_from(said: object, *, origin: str) -> Profile:
    """The profile that a decoded document describes. Raises ``ProfileInvalid``."""
    try:
        return Profile.model_validate(said)
    except ValidationError as error:
        raise ProfileInvalid(origin, _explained(error)) from error


def _explained(error: ValidationError) -> list[tuple[str, str]]:
    found = []
    for item in error.errors(include_url=False)[:20]:
        # A name out of a document may hold what no text in UTF-8 can.
        where = ".".join(str(part) for part in item["loc"]).encode("utf-8", "replace").decode()[:200]
        message = {
            "extra_forbidden": "there is no such field",
            "missing": "this field is missing",
        }.get(item["type"], item["msg"].removeprefix("Value error, "))
        found.append((where, message[:1].lower() + message[1:] if message[:5] == "Input" else message))
    return found


def read_folder(folder: Path) -> dict[str, Profile]:
    """The profiles of the ``.toml`` and ``.json`` files of a folder, by name.

    Raises:
        ProfileInvalid: a file is none, or two are of one name.
    """
    rows: dict[str, Profile] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".toml", ".json"):
            continue
        profile = read_profile(path.read_bytes(), origin=path.name, form="json" if path.suffix == ".json" else "toml")
        if profile.name in rows:
            raise ProfileInvalid(path.name, [("name", f"another file of the folder is called {profile.name} too")])
        rows[profile.name] = profile
    return rows


PROFILES: Mapping[str, Profile] = MappingProxyType(read_folder(CATALOGUE))
"""The house's own profiles, by name."""

DELIVERY_H264 = PROFILES["delivery-h264"]
ARCHIVE_FFV1 = PROFILES["archive-ffv1"]


def profile_named(name: str, among: Mapping[str, Profile] = PROFILES) -> Profile:
    """The profile called ``name``.

    Raises ``Permanent`` with code ``profile.unknown`` that lists the known ones.
    """
    profile = among.get(name)
    if profile is None:
        message = f"there is no export profile called {name!r}; ask for one of {', '.join(sorted(among))}"
        raise Permanent(message, code="profile.unknown")
    return profile
