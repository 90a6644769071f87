"""Tests in browsers. An expectation fails after half a minute: the machine may run many servers at once."""

from playwright.sync_api import expect

expect.set_options(timeout=30_000)
