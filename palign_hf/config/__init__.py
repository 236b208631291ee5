"""Settings declared once in a dataclass, for constructor, recipes, CLI options, `--help` and docs.

All of these read the same fields, and all are strict: an unknown key or an invalid value is an error that names it.

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        rows: int = setting(help="rows to read", default=10, least=1)

        def __post_init__(self) -> None:
            check_settings(self)
"""

from palign_hf.config.options import Parser, add_options, add_settings, read_options
from palign_hf.config.recipes import find_recipe, load_config, shipped_recipes
from palign_hf.config.resolve import Resolver, check_parameters, described, read_named, read_template, renamed
from palign_hf.config.settings import (
    ConfigError,
    arguments,
    build,
    check_folder,
    check_settings,
    describe,
    folder_of,
    setting,
    settings_table,
)


__all__ = [
    "ConfigError",
    "Parser",
    "Resolver",
    "add_options",
    "add_settings",
    "arguments",
    "build",
    "check_folder",
    "check_parameters",
    "check_settings",
    "describe",
    "described",
    "find_recipe",
    "folder_of",
    "load_config",
    "read_named",
    "read_options",
    "read_template",
    "renamed",
    "setting",
    "settings_table",
    "shipped_recipes",
]
