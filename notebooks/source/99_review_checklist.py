# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Review checklist
#
# Eight mistakes, eight questions. `llm-antipatterns scan` looks for the signs; `llm-antipatterns audit` measures, and only that proves something.
#
# | ask, and look for in a diff | find it, and watch it in production |
# |:---|:---|
# | ☐ [01](01_event_loop.ipynb) **Does anything block the event loop?**<br>`httpx.post`, `time.sleep` or a synchronous SDK in `async def` | *scan:* LAP01.sync-http, LAP01.sync-call, LAP01.sync-stream, LAP01.sleep<br>*audit:* LAP01.flight, LAP01.health<br>*watch:* the longest stall of the event loop |
# | ☐ [02](02_shared_client.ipynb) **Who makes and closes the client?**<br>a client made in a handler or a loop | *scan:* LAP02.client-per-call<br>*audit:* LAP02.connections, LAP02.handshakes<br>*watch:* connections opened per request sent |
# | ☐ [03](03_prompt_tokens.ipynb) **Is the prompt short, and is its beginning always the same?**<br>a clock in front; the whole history; no limit for the answer | *scan:* LAP03.clock-front<br>*audit:* LAP03.prefix, LAP03.cached, LAP03.growth, LAP03.clock, LAP03.limit<br>*watch:* prompt tokens, and the cached share |
# | ☐ [04](04_deadlines.ipynb) **When does this call end if the provider hangs or drips?**<br>`timeout=None`; no deadline around the call and its retries | *scan:* LAP04.no-timeout, LAP04.unbounded-http<br>*audit:* LAP04.hang, LAP04.drip, LAP04.starve<br>*watch:* calls in flight, age of the oldest |
# | ☐ [05](05_rate_limits.ipynb) **What is retried, how often, after which wait, and in how many layers?**<br>a loop that reads no `Retry-After`, or retries what the SDK has retried | *scan:* LAP05.early, LAP05.retry-all, LAP05.retry-endless, LAP05.stacked<br>*audit:* LAP05.early, LAP05.jitter, LAP05.permanent, LAP05.layers<br>*watch:* requests per answer |
# | ☐ [06](06_conversation_store.ipynb) **What is lost when this process ends?**<br>messages in a module-level dict; a history read, then written back | *scan:* LAP06.module-history<br>*audit:* LAP06.restart, LAP06.workers, LAP06.order<br>*watch:* messages per prompt |
# | ☐ [07](07_streaming.ipynb) **When is the first word shown, and what if the reader leaves?**<br>pieces collected and returned at the end; a task that outlives its request | *scan:* LAP07.whole-stream-rust<br>*audit:* LAP07.first, LAP07.leave<br>*watch:* time to the first piece, at the reader |
# | ☐ [08](08_error_boundaries.ipynb) **If one call fails, what becomes of the others?**<br>a bare `gather`; `except: pass`; an answer used whatever its finish reason | *scan:* LAP08.gather, LAP08.swallowed, LAP08.unchecked-json, LAP08.finish-reason-default<br>*audit:* LAP08.cut, LAP08.no_finish, LAP08.length, LAP08.error_event, LAP08.json, LAP08.siblings, LAP08.orphans, LAP08.down<br>*watch:* failures by cause, and their share |
#
# In Rust, the names of rules end in `-rust`. The terms are in the [glossary](98_glossary.ipynb).
