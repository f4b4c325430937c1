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
# # Glossary
#
# The field's terms, each with the place in the course where you can see it happen. A link opens the lesson; click it a second time to go to the section. Under *Going deeper*, open the section with the button below its heading.
#
# | term | meaning | where it happens |
# |---|---|---|
# | **arm** | One version of the code in a comparison, such as `wrong` or `right`. | [01 · The wrong way](01_event_loop.ipynb#The-wrong-way) |
# | **audit** | A run of the whole application against a mock provider that misbehaves. It reports what the application did. | [10 · The incident](10_audit.ipynb#The-incident) |
# | **back-pressure** | A slow reader makes the sender wait, and everything before the sender, up to the server. Without it, data piles up in between. | [07 · The right way](07_streaming.ipynb#The-right-way) |
# | **blocking call** | A call that keeps its thread until it returns. On an event loop, no other task can run until then. | [01 · Predict, then run](01_event_loop.ipynb#Predict,-then-run) |
# | **bulkhead** | A wall between calls, as in a ship: when one fails, the others stay afloat. | [08 · The right way](08_error_boundaries.ipynb#The-right-way) |
# | **chaos test** | A test in which the provider misbehaves on demand, and which counts what becomes of the answers. | [08 · Catch it](08_error_boundaries.ipynb#Catch-it) |
# | **circuit breaker** | After some failures in a row, it stops sending requests: the circuit is *open*. After a pause it is *half-open*, and the next call tries. | [08 · What if the model is down?](08_error_boundaries.ipynb#What-if-the-model-is-down?) |
# | **connection pool** | The open connections of a client, which wait for the next request. It is closed with its client. | [02 · Predict, then run](02_shared_client.ipynb#Predict,-then-run) |
# | **context window** | How many tokens a model can take. Every prompt must fit into it, so at some point old turns have to go. | [03 · What if the conversation is longer?](03_prompt_tokens.ipynb#What-if-the-conversation-is-longer?) |
# | **contract test** | A test of how your client talks to the provider. It counts requests at the server. | [05 · Catch it](05_rate_limits.ipynb#Catch-it) |
# | **deadline** | A point in time at which a call ends, whatever happens. | [04 · The right way](04_deadlines.ipynb#The-right-way) |
# | **deadline propagation** | Passing on to the next call what is left of the budget, instead of the whole budget. | [04 · Your turn](04_deadlines.ipynb#Your-turn) |
# | **drip** | The answer begins, then comes a byte at a time. Every byte starts a read timeout again, so that it does not end the call. | [04 · Predict, then run](04_deadlines.ipynb#Predict,-then-run) |
# | **error boundary** | A place where the failure of a call ends and becomes a value. | [08 · The right way](08_error_boundaries.ipynb#The-right-way) |
# | **event loop** | It runs many tasks in one thread, one at a time. It can switch to another task only when the running task reaches an `await` that has to wait. | [01 · Predict, then run](01_event_loop.ipynb#Predict,-then-run) |
# | **exponential back-off with full jitter** | Before each retry, a random wait from 0 to a bound that doubles. | [05 · The right way](05_rate_limits.ipynb#The-right-way) |
# | **fallback** | A second model, smaller and worse, that is asked when the first one fails. | [08 · What if the model is down?](08_error_boundaries.ipynb#What-if-the-model-is-down?) |
# | **finish reason** | The provider's statement of why an answer ended. Without one the answer is not whole, whatever else came; with `length` it was cut off. | [07 · The right way](07_streaming.ipynb#The-right-way) |
# | **GIL** | The global interpreter lock. In the standard build of CPython, only the thread that holds it runs Python code. | [01 · What if the code computes?](01_event_loop.ipynb#What-if-the-code-computes?) |
# | **graceful degradation** | When something fails, the service gives a worse answer instead of none. | [08 · What if the model is down?](08_error_boundaries.ipynb#What-if-the-model-is-down?) |
# | **handshake** | The round trips that set up a connection before a request can leave: one handshake for TCP, one for TLS. | [02 · Predict, then run](02_shared_client.ipynb#Predict,-then-run) |
# | **hang** | The request is accepted and never answered. | [04 · Predict, then run](04_deadlines.ipynb#Predict,-then-run) |
# | **head-of-line blocking** | Requests share a TCP connection, so one lost packet delays all of them. | [02 · What does HTTP/2 change?](02_shared_client.ipynb#What-does-HTTP/2-change?) |
# | **heartbeat** | A tiny task that the lab runs on your event loop, fifty times a second. It stops when the loop is blocked. | [01 · Predict, then run](01_event_loop.ipynb#Predict,-then-run) |
# | **idempotent** | Said of a request that has the same effect when it is sent twice. | [05 · The right way](05_rate_limits.ipynb#The-right-way) |
# | **in flight** | Said of a request that was sent and whose answer is not complete. The number at once shows whether calls run at the same time. | [01 · Predict, then run](01_event_loop.ipynb#Predict,-then-run) |
# | **jitter** | The random part of a wait before a retry, so that clients do not come back together. | [05 · The right way](05_rate_limits.ipynb#The-right-way) |
# | **keep-alive** | A connection stays open after its request and waits for the next one. | [02 · Predict, then run](02_shared_client.ipynb#Predict,-then-run) |
# | **lifespan** | In FastAPI, code that runs when the service starts and when it stops. It creates the client and closes it. | [02 · In a service](02_shared_client.ipynb#In-a-service) |
# | **load shedding** | A busy service refuses early, with status 503 and a Retry-After of its own, instead of filling up with waiting users. | [05 · In a service](05_rate_limits.ipynb#In-a-service) |
# | **lost update** | Two writers read the same state, and the second to write erases what the first has written. | [06 · What if two turns come at once?](06_conversation_store.ipynb#What-if-two-turns-come-at-once?) |
# | **makespan** | The time from the first request to the last answer. | [01 · Predict, then run](01_event_loop.ipynb#Predict,-then-run) |
# | **orphan** | A call that goes on after the code that made it has failed. You pay for its answer, and nobody takes it. | [08 · Predict, then run](08_error_boundaries.ipynb#Predict,-then-run) |
# | **permanent error** | An error that no retry can fix, such as a bad request or a spent quota. | [05 · The right way](05_rate_limits.ipynb#The-right-way) |
# | **prompt cache** | What a provider keeps of the prompts that it has read. If a prompt begins like an earlier one, token for token, that part is cheaper and is read much sooner. | [03 · Predict, then run](03_prompt_tokens.ipynb#Predict,-then-run) |
# | **retry amplification** | Requests per answer. It should be close to 1. | [05 · Catch it](05_rate_limits.ipynb#Catch-it) |
# | **retry storm** | The server gets several requests for each question, and most of them are in vain. | [05 · Predict, then run](05_rate_limits.ipynb#Predict,-then-run) |
# | **server-sent events** | The format of a streamed answer: lines that begin with `data:`, about one event per token. | [07 · The wrong way](07_streaming.ipynb#The-wrong-way) |
# | **sliding window** | Only the newest messages are kept, in their order. If it drops one in each turn, the prompt begins differently each time, and the prompt cache finds nothing. | [06 · The right way](06_conversation_store.ipynb#The-right-way), [03 · What if the conversation is longer?](03_prompt_tokens.ipynb#What-if-the-conversation-is-longer?) |
# | **SSL context** | A client's TLS settings, with the parsed certificates of all authorities that it trusts. Parsing them blocks the event loop. | [02 · Predict, then run](02_shared_client.ipynb#Predict,-then-run) |
# | **stall** | A time in which the event loop answers nothing. It is *blocked* by one long step, or *busy* with many short ones. | [01 · Catch it](01_event_loop.ipynb#Catch-it) |
# | **stall meter** | It measures the event loop while it runs: how long each stall was, and which line caused it. | [01 · Catch it](01_event_loop.ipynb#Catch-it) |
# | **structured concurrency** | A task lives no longer than the block of code that started it: the block waits for it, and cancelling the block cancels it. | [07 · The right way](07_streaming.ipynb#The-right-way) |
# | **tail latency** | How long the slowest calls take, such as the 99th percentile. | [04 · When is the wrong way fine?](04_deadlines.ipynb#When-is-the-wrong-way-fine?) |
# | **thundering herd** | Clients that were refused at the same moment, wait equally long, and come back together. | [05 · Is exponential back-off enough?](05_rate_limits.ipynb#Is-exponential-back-off-enough?) |
# | **time to first token** | How long it takes until a reader sees the first word (TTFT). | [07 · Predict, then run](07_streaming.ipynb#Predict,-then-run) |
# | **time to live** | How long something is kept (TTL); for a conversation, counted from its *last* message. | [06 · The right way](06_conversation_store.ipynb#The-right-way) |
# | **token bucket** | A rate limit: each request takes a permit from a bucket, which gains permits at a steady rate up to its size. A request that finds it empty gets status 429. | [05 · Predict, then run](05_rate_limits.ipynb#Predict,-then-run) |
# | **transient error** | An error that may go away, so a later retry can succeed. | [05 · The right way](05_rate_limits.ipynb#The-right-way) |
#
# Back to the [course map](00_start_here.ipynb). For a code review there is a [checklist](99_review_checklist.ipynb) of one page.
