"""Plugins of strangers: found by their entry points, and harmless when broken."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

RunHarness = Callable[..., "subprocess.CompletedProcess[str]"]


def test_help_lists_a_strangers_commands_under_their_heading(harness: RunHarness) -> None:
    done = harness("--help")
    assert done.returncode == 0
    listed = done.stdout.split("a stranger's:\n")[1].splitlines()
    assert listed[0].split(maxsplit=1) == ["echo", "the help of echo"]
    assert [line.split()[0] for line in listed[:8]] == [
        "echo",
        "fail",
        "crash",
        "fill-disk",
        "fill-named",
        "fill-safetensors",
        "write",
        "wait",
    ]


def test_each_broken_plugin_costs_one_line_that_names_it(harness: RunHarness) -> None:
    done = harness("echo", "--text", "hello")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    warnings = [line for line in done.stderr.splitlines() if "strangers-plugins" in line]
    start = "harness: warning: plugin"
    assert warnings == [
        f"{start} 'a_missing_module' (from strangers-plugins) cannot be loaded: ModuleNotFoundError: "
        "No module named 'strangers_plugins_that_are_not_there'",
        f"{start} 'b_raises' (from strangers-plugins) cannot be loaded: ValueError: first line",
        f"{start} 'c_wrong_type' (from strangers-plugins) cannot be loaded: TypeError: "
        "commands() gave 'not a command', not a harness.plugins.Command",
        f"{start} 'd_bad_options' (from strangers-plugins) cannot be loaded: AttributeError: "
        "'_StoreAction' object has no attribute 'undefined'",
        f"{start} 'f_same_name' (from strangers-plugins) command 'echo' is left out: the name is taken",
    ]
    assert "second line" not in done.stderr


def test_the_rest_of_a_plugin_survives_a_clash(harness: RunHarness) -> None:
    assert harness("own", "--text", "mine").stdout == "mine\n"


def test_the_commands_own_status_is_the_processs(harness: RunHarness) -> None:
    assert harness("echo", "--text", "x", "--status", "7").returncode == 7
