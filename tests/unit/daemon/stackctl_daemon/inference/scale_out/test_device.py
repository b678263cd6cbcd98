"""The cluster as a device."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from stackctl.contracts.device import Device
from stackctl.errors import BadConfig
from stackctl.settings import DeviceSettings
from stackctl_daemon.inference.scale_out.device import with_cluster

DEVICES = [
    Device(id="cuda:0", kind="cuda", name="GPU"),
    Device(id="cpu:0", kind="cpu", name="CPU"),
]


def test_without_replicas_the_devices_stay_as_they_are() -> None:
    assert with_cluster(DeviceSettings(), DEVICES) == DEVICES


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_replicas_without_ray_are_refused_with_its_name() -> None:
    with pytest.raises(BadConfig, match="Ray is not installed") as caught:
        with_cluster(DeviceSettings(ray_replicas=2), DEVICES)

    assert caught.value.hint == "pip install 'stackctl[ray]'"


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_the_cluster_takes_the_place_of_the_cores() -> None:
    found = with_cluster(DeviceSettings(ray_replicas=2), DEVICES)

    assert [device.id for device in found] == ["cuda:0", "ray:0"]
