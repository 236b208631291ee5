"""`palign truncate`: TRACES -> PREFIXES in this process, from a recipe."""

import argparse

from palign_hf.config import describe, load_config
from palign_hf.truncation.run import Shard, TruncateConfig, closing_words, finish, run_shard


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command; the settings themselves are those of the recipe."""
    add_recipe_arguments(parser)
    parser.set_defaults(run=run)


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """`--config` and `--set`, the same for the command and for the script under accelerate."""
    width = max(len(key) for key, _ in describe(TruncateConfig))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "settings of the recipe:\n" + "\n".join(
        f"  {key:<{width}}  {text}" for key, text in describe(TruncateConfig)
    )
    parser.add_argument(
        "--config", metavar="RECIPE", required=True, help="YAML file, as recipes/<student>/truncate.yaml"
    )
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change a setting of the recipe; repeatable"
    )


def run(options: argparse.Namespace) -> int:
    """Run the recipe; 1 if rows failed."""
    config = load_config(TruncateConfig, options.config, options.set)
    run_shard(config, Shard())
    report = finish(config, 1)
    print(closing_words(config, report))
    return 1 if report.failed else 0
