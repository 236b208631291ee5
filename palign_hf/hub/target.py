"""The target of a push: whether this token may write there is checked before any work."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, listed, shown
from palign_hf.hub.retries import GaveUp, Patience, patiently


if TYPE_CHECKING:
    from huggingface_hub import HfApi


def check_target(
    repo_id: str, *, pull_request: bool = False, api: "HfApi | None" = None, patience: Patience | None = None
) -> str:
    """Refuse, before any work, a repository that can't be pushed to; returns the name of the user.

    Somebody else's repository can be changed by a pull request only.
    """
    from huggingface_hub import HfApi

    api = api or HfApi()
    refuse_offline(repo_id)
    try:
        me = patiently("looking who is logged in", lambda: api.whoami(), patience or Patience())
        failed = None
    except GaveUp as gave_up:
        failed = gave_up
    if failed is not None:
        raise UserError(f"Nothing can be pushed to `{repo_id}`: {denial(failed)}")
    _check_rights(me, repo_id, pull_request)
    return str(me["name"])


def refuse_offline(repo_id: str) -> None:
    """Refuse to push in offline mode."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise UserError(
            f"Nothing can be pushed to `{repo_id}`: `HF_HUB_OFFLINE` is set, so the Hub isn't asked. Unset it."
        )


def denial(gave_up: GaveUp) -> str:
    """The message of a failed step, with what to do."""
    fault = gave_up.fault
    if fault.status == 401:
        return (
            f"{gave_up.doing} failed, since the Hub doesn't know who asks ({shown(fault.words, 300)}). Log in with "
            f"`hf auth login`, or set `HF_TOKEN` to a token that may write."
        )
    if fault.status == 403:
        return (
            f"{gave_up.doing} failed, since the token may not do that ({shown(fault.words, 300)}). Give it the right "
            f"to write to this repository (huggingface.co/settings/tokens), or take `--create-pr`."
        )
    tries = "once" if gave_up.tries == 1 else f"{gave_up.tries} times"
    again = " Try again later." if fault.again else ""
    return f"{gave_up.doing} failed {tries}: {shown(fault.words, 400).rstrip('.')}.{again}"


def _check_rights(me: Mapping[str, Any], repo_id: str, pull_request: bool) -> None:
    """Check the rights that whoami reports; those of a fine-grained token are known only by trying."""
    token = (me.get("auth") or {}).get("accessToken") or {}
    if token.get("role") == "read":
        raise UserError(
            f"Nothing can be pushed to `{repo_id}`: the token `{shown(token.get('displayName', ''))}` may only read. "
            f"Make one that may write (huggingface.co/settings/tokens), and give it to `hf auth login`."
        )
    owner = repo_id.split("/")[0]
    teams = {str(team.get("name")): team for team in me.get("orgs") or ()}
    if owner == me.get("name") or pull_request:
        return
    if owner not in teams:
        raise UserError(
            f"Nothing can be pushed to `{repo_id}`: you are `{me.get('name')}`, and may write for "
            f"{listed([me.get('name'), *teams])}. Give a repository of one of these, or open a pull request with "
            f"`--create-pr`."
        )
    if teams[owner].get("roleInOrg") == "read":
        raise UserError(
            f"Nothing can be pushed to `{repo_id}`: in `{owner}` you may only read. Ask its owners for the right to "
            f"write, or open a pull request with `--create-pr`."
        )
