"""Routes for export profiles: what there is, and those that users add. A document is tried out before it is kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Body, FastAPI, Path, Response
from pydantic import BaseModel, Field

from contracts.errors import Permanent
from services.media import shelf
from services.media.profiles import PROFILES, Profile, profile_from, profile_named
from services.media.trial import try_profile

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="The profile's name.")]
EXAMPLE = {**PROFILES["delivery-h264"].document(), "name": "mine", "version": 1, "purpose": "For our own archive."}
"""A document that is taken, for readers of the OpenAPI document."""


class ProfileOut(BaseModel):
    """A profile: its document, where it comes from, and the digest that manifests carry."""

    name: str
    version: int
    purpose: str
    origin: Annotated[Literal["house", "folder", "store"], Field(description="Only those of the store can be changed.")]
    extension: str
    sha256: Annotated[str, Field(description="Digest over the whole profile.")]
    document: dict[str, Any]


class ProfilesOut(BaseModel):
    """Every profile that may be asked for, by name."""

    profiles: list[ProfileOut]


def add_profiles(app: FastAPI, runtime: Runtime) -> None:
    """Adds the routes."""
    objects, folder = runtime.objects, runtime.settings.profile_folder
    # One document at a time: what is tried is an encoder, and what is checked is that the version rises.
    turn = asyncio.Lock()

    @app.get("/api/profiles", tags=["profiles"])
    async def list_profiles() -> ProfilesOut:
        """Every profile that may be asked for."""
        found = await asyncio.to_thread(shelf.everything, objects, folder)
        return ProfilesOut(profiles=[_out(origin, profile) for origin, profile in found])

    @app.get("/api/profiles/{name}", tags=["profiles"])
    async def show_profile(name: Name) -> ProfileOut:
        """One profile."""
        found = await asyncio.to_thread(shelf.everything, objects, folder)
        profile = profile_named(name, {each.name: each for _, each in found})
        return next(_out(origin, each) for origin, each in found if each == profile)

    @app.put(
        "/api/profiles/{name}", tags=["profiles"], responses={409: {"description": "Taken, or no higher version."}}
    )
    async def put_profile(name: Name, body: Annotated[dict[str, Any], Body(examples=[EXAMPLE])]) -> ProfileOut:
        """Keeps a profile, once it is valid and its encoder took it. The same document again changes nothing."""
        profile = profile_from(body, origin="The document")
        if profile.name != name:
            raise Permanent(
                f"The document is called {profile.name}, the address {name}. Let both say the same.",
                code="profile.other_name",
            )
        async with turn:
            await asyncio.to_thread(_keep, profile)
        return _out("store", profile)

    def _keep(profile: Profile) -> None:
        shelf.refuse_taken(profile, objects, folder)
        try_profile(profile)
        shelf.keep(profile, objects, folder)

    @app.delete("/api/profiles/{name}", tags=["profiles"], status_code=204)
    async def delete_profile(name: Name) -> Response:
        """Removes a kept profile. Bundles made with it stay."""
        async with turn:
            await asyncio.to_thread(shelf.remove, name, objects, folder)
        return Response(status_code=204)


async def refuse_unknown(names: tuple[str, ...], runtime: Runtime) -> None:
    """Raises ``review.unknown_profile`` if one of the profiles is none."""
    folder = runtime.settings.profile_folder
    found = await asyncio.to_thread(shelf.find, names, runtime.objects, folder)
    missing = [name for name in names if name not in found]
    if missing:
        known = await asyncio.to_thread(shelf.everything, runtime.objects, folder)
        raise Permanent(
            f"There is no export profile called {missing[0]!r}; ask for one of "
            f"{', '.join(profile.name for _, profile in known)}.",
            code="review.unknown_profile",
        )


def _out(origin: str, profile: Profile) -> ProfileOut:
    return ProfileOut.model_validate(
        {
            "name": profile.name,
            "version": profile.version,
            "purpose": profile.purpose,
            "origin": origin,
            "extension": profile.extension,
            "sha256": profile.fingerprint(),
            "document": profile.document(),
        }
    )
