"""Settings from the environment: how a class of them is read, and what is said where a value can't be used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipelines.errors import SettingsError


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Names separated by commas."""
Folder = Annotated[Path, AfterValidator(lambda value: value.expanduser().absolute())]
"""A path, made absolute; `~` is the home folder."""


class EnvironmentSettings(BaseSettings):
    """Field names in upper case are the names of the environment variables. A blank variable counts as unset.

    Attributes:
        page: The document that lists them.
    """

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True, extra="ignore", env_ignore_empty=True)
    page: ClassVar[str]

    @classmethod
    def load(cls, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read the settings.

        Args:
            overrides: Field values that win over the environment.

        Raises:
            SettingsError: A value can't be used; the message names every such setting, never its value.
        """
        try:
            return cls(**(overrides or {}))
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
            raise SettingsError(
                "Settings can't be used", found=problems, fix=f"correct the environment variable ({cls.page})"
            ) from None
