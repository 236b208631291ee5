"""Endpoints of the Hub double for jobs: the bucket that the files of a job go to, and the job, which is never run."""

import json

from hub_refusals import Refusal
from hub_state import Hub, Routes
from hub_trees import xet_place
from hub_wire import Answer, Call


ROUTES = Routes()
BUCKET = r"/api/buckets/(?P<owner>[^/]+)/(?P<bucket>[^/]+)"
# As the server takes it; anything else would be a field that the double knows nothing of.
SPEC = {"command", "arguments", "environment", "flavor", "secrets", "timeoutSeconds", "labels", "volumes"}
SPEC |= {"dockerImage", "spaceId"}


@ROUTES.on("POST", BUCKET)
def create_bucket(hub: Hub, call: Call, owner: str, bucket: str) -> Answer:
    hub.writer(call, owner)
    name, url = f"{owner}/{bucket}", f"{hub.endpoint}/buckets/{owner}/{bucket}"
    if name in hub.buckets:
        raise Refusal(409, "This bucket exists already", url=url)
    hub.buckets[name] = {}
    return Answer.of({"url": url, "name": name})


@ROUTES.on("GET", BUCKET + "/xet-write-token")
def bucket_token(hub: Hub, call: Call, owner: str, bucket: str) -> Answer:
    hub.writer(call, owner)
    return xet_place(hub)


@ROUTES.on("POST", BUCKET + "/batch")
def fill_bucket(hub: Hub, call: Call, owner: str, bucket: str) -> Answer:
    """Files by Xet's names of them, one a line."""
    hub.writer(call, owner)
    for line in call.body.splitlines():
        given = json.loads(line)
        if given["type"] != "addFile":
            raise Refusal(400, f"The double can't {given['type']} in a bucket")
        hub.buckets[f"{owner}/{bucket}"][given["path"]] = given["xetHash"]
    return Answer.of({"failed": []})


@ROUTES.on("POST", "/api/jobs/(?P<owner>[^/]+)")
def start(hub: Hub, call: Call, owner: str) -> Answer:
    """A job is noted, and is told back without the values of its secrets."""
    hub.writer(call, owner)
    given = call.json()
    if unknown := {*given} - SPEC:
        raise Refusal(400, f"The double knows no {', '.join(sorted(unknown))} of a job")
    hub.jobs.append({"owner": owner, **given})
    told = {name: value for name, value in given.items() if name not in ("secrets", "timeoutSeconds")}
    told |= {"id": f"job{len(hub.jobs)}", "owner": {"id": owner, "name": owner, "type": "user"}}
    told |= {"createdAt": "2026-01-01T00:00:00.000Z", "status": {"stage": "RUNNING", "message": None}}
    return Answer.of(told)
