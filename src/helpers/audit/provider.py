"""The provider of an audit: the mock server, and a relay in front of it."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from helpers.audit.recording import Call, Sent
from helpers.audit.relay import Relay
from helpers.audit.scenarios import STEADY, TLS, Scenario
from helpers.mock_llm.client import MockLLM
from helpers.mock_llm.records.ledger import Ledger
from helpers.processes import StartStop

# Tokens of an answer: enough for a prompt to grow, and for a stream to last.
_ANSWER_TOKENS = 60
_KEY = "sk-audit-no-real-key"


class Provider(StartStop):
    """One mock server, used for one scenario at a time."""

    def __init__(self) -> None:
        self._llm = MockLLM(tls=True, answer_tokens=_ANSWER_TOKENS, lenient=True)
        self._relays: dict[str, Relay] = {}
        self._scenario = STEADY

    def start(self) -> Provider:
        self._llm.start()
        return self

    def stop(self) -> None:
        self._llm.stop()

    @contextmanager
    def playing(self, scenario: Scenario) -> Iterator[None]:
        self._scenario = scenario
        self._llm.configure(profile=scenario.profile)
        self._llm.reset()
        try:
            yield
        finally:
            for relay in self._relays.values():
                relay.stop()
            self._relays.clear()

    def environment(self, only: str = "") -> dict[str, str]:
        """What points an application at this provider.

        ``only``: the one user who makes all its requests.
        """
        name = self._scenario.name
        scenario = f"{name}.{only}" if only and len(self._scenario.users) > 1 else name
        if self._scenario.name == TLS.name:
            base, further = self._llm.url, _trusting(self._llm.ca_file)
        else:
            port = int(self._llm.http_url.removesuffix("/v1").rpartition(":")[2])
            relay = self._relays.get(only)
            if relay is None:
                relay = self._relays[only] = Relay(port, self._scenario.users, only).start()
            base, further = f"http://127.0.0.1:{relay.port}/v1", {}
        return {**os.environ, **environment(base), **further, "LLM_AUDIT_SCENARIO": scenario}

    def last_call(self, only: str = "") -> float | None:
        """When the newest call of the user was first attempted; None if there is none.

        Over https, nothing is known of calls except their requests.
        """
        if relay := self._relays.get(only):
            return relay.last_call
        return max((request.arrival for request in self.ledger().requests), default=None)

    def has_asked(self, kind: str) -> bool:
        """Whether a call of a user of that kind has arrived."""
        return any(each.user.startswith(kind) for each in self._sent())

    def refusal(self) -> str:
        """What the provider said when it first refused a request; "" if it has refused none."""
        refusals = [each for relay in self._relays.values() for each in relay.refusals]
        return _message(bytes(refusals[0])) if refusals else ""

    def ledger(self) -> Ledger:
        return self._llm.ledger()

    def calls(self, ledger: Ledger) -> tuple[Call, ...]:
        """The requests to the model, each with its contents; requests over https are left out."""
        places: dict[int, int] = defaultdict(int)
        sent = {(each.connection, each.place): each for each in self._sent()}
        calls = []
        for request in sorted(ledger.requests, key=lambda request: request.arrival):
            place = places[request.connection]
            places[request.connection] += 1
            if each := sent.get((request.connection, place)):
                calls.append(Call(each, request))
        return tuple(call for call in calls if call.sent.call)

    def _sent(self) -> list[Sent]:
        return [each for relay in self._relays.values() for each in relay.sent]


def environment(base: str) -> dict[str, str]:
    """The variables by which the SDKs find a provider."""
    origin = base.removesuffix("/v1")
    keys = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY")
    return {
        "OPENAI_BASE_URL": base,
        "OPENAI_API_BASE": base,
        "ANTHROPIC_BASE_URL": origin,
        "AZURE_OPENAI_ENDPOINT": origin,
        **dict.fromkeys(keys, _KEY),
        **_without_proxy(os.environ),
    }


def _message(answer: bytes) -> str:
    """The message in a provider's error."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"])
    return ""


def _without_proxy(variables: Mapping[str, str]) -> dict[str, str]:
    before = variables.get("NO_PROXY") or variables.get("no_proxy") or ""
    hosts = ",".join(filter(None, [before, "127.0.0.1", "localhost"]))
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def _trusting(ca_file: str) -> dict[str, str]:
    """For OpenSSL and httpx, requests, curl, and Node."""
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    return dict.fromkeys(names, ca_file)
