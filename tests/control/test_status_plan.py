"""Which Ingresses are to be compared: for who does not lead, too."""

from ingressd.control.load_balancer import given
from ingressd.control.status_plan import StatusPlan


def test_what_is_gone_before_anybody_writes_is_forgotten() -> None:
    """Nobody takes what is due while another leads; memory must not grow with every Ingress that ever was."""
    plan = StatusPlan()
    plan.want(given(["203.0.113.9"]))
    for number in range(1000):
        name = ("shop", f"run{number}")
        plan.take([("shop", "web"), name], [name])
        assert len(plan._due) <= 2
    plan.take([("shop", "web")], [("shop", "web")])
    assert plan.take_due() == [("shop", "web")]
