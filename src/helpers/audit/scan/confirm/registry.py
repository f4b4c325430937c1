"""Which function confirms the candidates of which rule; the other rules need none."""

from __future__ import annotations

from helpers.audit.scan.confirm import blocking, connections, memory, outcomes, prompts, retries
from helpers.audit.scan.confirm.hit import Confirm

CONFIRM: dict[str, tuple[Confirm, ...]] = {
    "LAP01.sync-call": (blocking.sync_call,),
    "LAP01.sync-stream": (blocking.sync_stream,),
    "LAP01.sleep": (blocking.sleep,),
    "LAP01.sync-http": (blocking.sync_http,),
    "LAP02.client-per-call": (connections.client_per_call,),
    "LAP03.clock-front": (prompts.clock_front,),
    "LAP04.no-timeout": (connections.no_timeout,),
    "LAP04.unbounded-http": (connections.unbounded_http,),
    "LAP05.early": (retries.loop_early,),
    "LAP05.retry-all": (retries.retry_all, retries.loop_retry_all),
    "LAP05.retry-endless": (retries.retry_endless, retries.loop_retry_endless),
    "LAP05.stacked": (retries.stacked, retries.loop_stacked),
    "LAP06.module-history": (memory.module_history,),
    "LAP08.unchecked-json": (outcomes.unchecked_json,),
    "LAP08.gather": (outcomes.gather,),
    "LAP08.swallowed": (outcomes.swallowed,),
}
