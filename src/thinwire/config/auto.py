"""Resolve the setting ``auto`` where its value depends on the device and affects results.

The values are declared beside the settings (``schema.ByDevice``). An ``auto`` that affects only speed or memory is
resolved where the model is known: ``model.memory``, ``training.autotune``, ``experiment.scheduling``.
"""

from __future__ import annotations

from typing import Any

from thinwire.schema import AnySection, ByDevice, Section


def resolved(settings: AnySection, device_type: str) -> AnySection:
    """Replace ``auto`` in ``settings`` and its groups by the value for ``cuda`` or for any other device."""
    changes: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Section):
            changes[name] = resolved(value, device_type)
        elif value == "auto":
            for choice in field.metadata:
                if isinstance(choice, ByDevice):
                    changes[name] = choice.cuda if device_type == "cuda" else choice.cpu
    return settings.model_copy(update=changes)
