"""The team's own tests: its client against the mock provider, and one check of the audit."""

import asyncio
import sys

import httpx
import pytest
from helpers import Fault
from summaries import TEXTS, summaries


@pytest.mark.mock_llm("small", environment=True)
def test_one_client_serves_all_texts(mock_llm):
    assert len(asyncio.run(summaries())) == len(TEXTS)
    ledger = mock_llm.ledger()
    assert ledger.peak_in_flight == len(TEXTS)
    assert all(request.status == 200 for request in ledger.requests)


@pytest.mark.mock_llm(environment=True, faults=[Fault(kind="503")])
def test_an_outage_is_an_error_and_no_summary(mock_llm):
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        asyncio.run(summaries())


def test_every_request_limits_the_answer(llm_audit):
    report = llm_audit.command([sys.executable, "summaries.py"], only="LAP03.limit")
    assert not report.failures
