"""The tasks of a shop, for pages that look as a project's own would."""

from django_jobs import task


@task(max_attempts=3, admin=True)
def charge_card(order_id: int, amount: float = 0.0, *, card_token: str = ""): ...


@task(queue_name="mail", max_attempts=5, admin=True)
def send_invoice(order_id: int): ...


@task(queue_name="mail", admin=True)
def send_newsletter(issue: str, recipients: int = 0): ...


@task(queue_name="images", admin=True)
def resize_photo(path: str, width: int = 800): ...


@task(admin=True, takes_context=True)
def import_products(context, source: str, *, dry_run: bool = False): ...


@task(queue_name="reports", admin=True)
def monthly_report(month: str, currency: str = "EUR"): ...


@task(admin=True)
def sync_stock(warehouse: str): ...


@task(admin=True)
def forget_old_carts(days: int = 30): ...
