"""Errors of the API, in OpenAI's form."""

from typing import Any


class ApiError(Exception):
    """An error that a client is told.

    Attributes:
        status: of HTTP.
        body: of the response, OpenAI's `{"error": {"message", "type", "param", "code"}}`.
        retry_after_s: seconds until another attempt makes sense; None: no statement.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ):
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s
        kind = "invalid_request_error" if status < 429 else "rate_limit_error" if status == 429 else "server_error"
        self.body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": param, "code": code}}
