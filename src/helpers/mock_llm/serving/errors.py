"""What can be wrong with a request. A `Dialect` knows how to tell the client.

Statuses, types and codes are those of the OpenAI API's error codes guide and its published
OpenAPI description; the sentences follow what the API answers. Anthropic has a type per status and
no codes; where its sentence differs, it is given next to OpenAI's.
"""

from __future__ import annotations


class ApiError(Exception):
    """Ends a request with an error body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        type: str = "invalid_request_error",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        anthropic: str | None = None,
        details: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.anthropic = anthropic or message
        self.type = type
        self.param = param
        self.code = code
        self.headers = headers
        self.details = details
        """Anthropic's, for a cause that has a code."""
        self.unknown: str | None = None
        """Name of the parameter that does not exist, if that is all."""


def malformed_json() -> ApiError:
    return ApiError(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
        "using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was "
        "sent was not valid JSON.)",
        anthropic="The request body is not valid JSON.",
    )


def too_many_values() -> ApiError:
    return ApiError(
        400,
        "The request body has too many values. Please send fewer or shorter messages.",
        code="request_too_large",
    )


def unknown_url(method: str, path: str) -> ApiError:
    return ApiError(
        404, f"Invalid URL ({method} {path})", code="unknown_url", anthropic="Not found"
    )


def method_not_allowed(method: str, path: str, allow: str) -> ApiError:
    return ApiError(
        405,
        f"Not allowed to {method} on {path}.",
        code="method_not_supported",
        anthropic="Method Not Allowed",
        headers=((b"allow", allow.encode()),),
    )


def unknown_model(model: str) -> ApiError:
    return ApiError(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
        anthropic=f"model: {model}",
    )


def no_api_key() -> ApiError:
    return ApiError(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization "
        "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        code="invalid_api_key",
        anthropic="x-api-key header is required",
    )


def wrong_api_key(key: str) -> ApiError:
    hidden = f"{key[:3]}***{key[-4:]}" if len(key) > 12 else "***"
    return ApiError(
        401,
        f"Incorrect API key provided: {hidden}.",
        code="invalid_api_key",
        anthropic="invalid x-api-key",
    )


def context_too_long(window: int, prompt: int, answer: int) -> ApiError:
    anthropic = (
        f"prompt is too long: {prompt} tokens > {window} maximum"
        if prompt > window
        else f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {window}, "
        "decrease input length or `max_tokens` and try again"
    )
    return ApiError(
        400,
        f"This model's maximum context length is {window} tokens. However, you requested "
        f"{prompt + answer} tokens ({prompt} in the messages, {answer} in the completion). Please "
        "reduce the length of the messages or completion.",
        param="messages",
        code="context_length_exceeded",
        anthropic=anthropic,
    )


def prompt_too_long(longest: int, prompt: int) -> ApiError:
    """Of a model whose window is divided between prompt and answer."""
    return ApiError(
        400,
        f"Input tokens exceed the configured limit of {longest} tokens. Your messages resulted in "
        f"{prompt} tokens. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )


def invalid_schema(problem: str) -> ApiError:
    """A schema that is well-formed and whose value the model cannot write."""
    return ApiError(
        400,
        f"Invalid schema: {problem}",
        code="invalid_json_schema",
        anthropic=f"JSON schema is invalid: {problem}",
    )


def answer_too_long() -> ApiError:
    return ApiError(
        400,
        "The answers would be too long. Please lower 'n', 'top_logprobs', or the number of tokens.",
        code="invalid_value",
    )


def body_too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        f"The request body is larger than {limit} bytes.",
        code="request_too_large",
        anthropic="Request exceeds the maximum size",
    )


def unsupported_encoding(encoding: str) -> ApiError:
    return ApiError(
        415,
        f"Unsupported content encoding: '{encoding[:100]}'. Send the body as it is, or with gzip "
        "or deflate.",
        code="unsupported_content_encoding",
        headers=((b"accept-encoding", b"gzip, deflate"),),
    )


def broken_encoding(encoding: str) -> ApiError:
    return ApiError(400, f"The request body is not valid {encoding} data.")


def unsupported_content_type(kind: str) -> ApiError:
    """The sentence is OpenAI's, as quoted in openai/openai-openapi#194."""
    kind = kind[:200]
    return ApiError(
        415,
        f"Unsupported content type: '{kind}'. This API method only accepts 'application/json' "
        f"requests, but you specified the header 'Content-Type: {kind}'. Please try again with a "
        "supported content type.",
        code="unsupported_content_type",
        anthropic=f"Content-Type must be application/json, not {kind}",
    )


def body_too_slow(seconds: float) -> ApiError:
    return ApiError(
        408, f"The request body did not arrive within {seconds:g} s.", code="request_timeout"
    )


def rate_limit_reached(model: str) -> ApiError:
    """Without figures: an injected one."""
    return ApiError(
        429,
        f"Rate limit reached for {model} on requests per min (RPM). Please try again later.",
        type="requests",
        code="rate_limit_exceeded",
        anthropic="This request would exceed your rate limit. Please try again later.",
    )


def overloaded(status: int) -> ApiError:
    return ApiError(
        status,
        "The server is overloaded with other requests. Please try again later.",
        type="service_unavailable_error",
        code="server_is_overloaded",
        anthropic="Overloaded",
    )


def not_loopback() -> ApiError:
    return ApiError(
        403, "This server answers only requests addressed to this machine.", code="host_not_allowed"
    )


def foreign_origin() -> ApiError:
    return ApiError(
        403,
        "This server answers no requests that a web page from elsewhere makes.",
        code="origin_not_allowed",
    )


def control_refused() -> ApiError:
    return ApiError(
        403,
        "The control routes need the header x-mock-token with the token that the process that "
        "started the server received.",
        code="invalid_mock_token",
    )


def no_fault_here() -> ApiError:
    return ApiError(
        400,
        "Invalid header x-mock-fault: only requests that the model answers can go wrong.",
        param="x-mock-fault",
    )


def not_accepted() -> ApiError:
    return ApiError(400, "The request was not accepted. Please check its parameters.")


def failed_after_all() -> ApiError:
    """The error in a stream that began with status 200."""
    return ApiError(
        529,
        "The server had an error while processing your request. Sorry about that!",
        type="server_error",
        code="server_error",
        anthropic="Overloaded",
    )


def internal() -> ApiError:
    return ApiError(
        500,
        "The server had an error while processing your request. Sorry about that!",
        type="server_error",
        anthropic="Internal server error",
    )
