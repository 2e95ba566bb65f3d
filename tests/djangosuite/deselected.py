"""Tests of Django's that are not run, each with the reason."""

MEMORY = "Changes a result in DummyBackend's memory; ours are rows."
RESULTS = "ImmediateBackend cannot give results again; JobsBackend can."
MORE_TYPES = "Wants datetimes refused as arguments; ours carry them."
OTHER_PROCESS = "Wants the body's KeyboardInterrupt raised by enqueue(); ours ran in another process."
ON_COMMIT = "Wants a task run inside the transaction that enqueues it; ours is sent at the commit."
KEPT_SUCCESS = "Wants a body that returned to have failed when its value is not JSON; ours has succeeded."
DEFERS = "ImmediateBackend has no run_after; JobsBackend has."

DESELECTED = {
    "test_dummy_backend.DummyBackendTestCase.test_refresh_result": MEMORY,
    "test_dummy_backend.DummyBackendTestCase.test_refresh_result_async": MEMORY,
    "test_immediate_backend.ImmediateBackendTestCase.test_cannot_get_result": RESULTS,
    "test_immediate_backend.ImmediateBackendTestCase.test_cannot_pass_run_after": DEFERS,
    "test_immediate_backend.ImmediateBackendTestCase.test_cannot_refresh_result": RESULTS,
    "test_immediate_backend.ImmediateBackendTestCase.test_complex_return_value": KEPT_SUCCESS,
    "test_immediate_backend.ImmediateBackendTestCase.test_throws_keyboard_interrupt": OTHER_PROCESS,
    "test_immediate_backend.ImmediateBackendTransactionTestCase"
    ".test_doesnt_wait_until_transaction_commit_by_default": ON_COMMIT,
    "test_tasks.TaskTestCase.test_aenqueue_with_invalid_argument": MORE_TYPES,
    "test_tasks.TaskTestCase.test_enqueue_with_invalid_argument": MORE_TYPES,
}
