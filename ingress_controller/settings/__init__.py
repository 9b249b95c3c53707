"""Command line and environment become frozen settings, once.

Rules: the only package that reads them. An error is one sentence that names the flag or variable,
the value and what to write instead.
"""

from ingress_controller.arguments import SettingsError, StartError
from ingress_controller.credentials import CertificateFiles
from ingress_controller.settings.reading import read_settings, version
from ingress_controller.settings.values import (
    Api,
    ApiServiceSettings,
    CheckSettings,
    Command,
    ExplainSettings,
    KubernetesSource,
    ManifestsSource,
    Publish,
    ReportSettings,
    Settings,
    StoreSettings,
    TopSettings,
)

__all__ = [
    "Api",
    "ApiServiceSettings",
    "CertificateFiles",
    "CheckSettings",
    "Command",
    "ExplainSettings",
    "KubernetesSource",
    "ManifestsSource",
    "Publish",
    "ReportSettings",
    "Settings",
    "SettingsError",
    "StartError",
    "StoreSettings",
    "TopSettings",
    "read_settings",
    "version",
]
