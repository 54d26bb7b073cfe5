"""Run ocean, wave and coastal models through plugins, and know whether each run truly worked.

A name is imported when it is first used (PEP 562), so ``import rompy_core`` costs next to nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rompy_core._bars import show_progress
    from rompy_core._binding import check_options, load_config
    from rompy_core._capabilities import Capability, refuse_missing
    from rompy_core._configs import BackendConfig, PipelineConfig, PostprocessorConfig
    from rompy_core._errors import (
        ConfigError,
        ModelRunError,
        PluginConflictError,
        PluginContractError,
        PluginError,
        PluginLoadError,
        PluginNotFoundError,
        RecordError,
        RompyError,
        StartError,
        TemplateError,
        WorkspaceError,
    )
    from rompy_core._foreign import check_model_run, expected_workspace
    from rompy_core._limits import limit_reasons
    from rompy_core._live import BaseHandle, LiveRun
    from rompy_core._logs import RunLogger
    from rompy_core._model import ModelRun, Period
    from rompy_core._model_configs import FilesConfig, TemplateConfig
    from rompy_core._noop import NoopPostprocessor
    from rompy_core._pipeline import LocalPipelineBackend
    from rompy_core._pipeline_records import PipelineReport, PipelineStage, read_pipeline
    from rompy_core._plugins import PluginInfo, list_plugins, load_object, load_plugin
    from rompy_core._processes import identify, is_alive
    from rompy_core._protocols import (
        CheckingBackend,
        Configured,
        Execution,
        ModelConfig,
        ModelRunLike,
        PipelineBackend,
        Postprocessor,
        RunBackend,
        RunHandle,
        SubmittingBackend,
    )
    from rompy_core._records import (
        RunRecord,
        cancel,
        find_runs,
        open_record,
        prepare_record,
        read_report,
        reopen_record,
    )
    from rompy_core._reports import (
        FAILED_RECORDS,
        RECORDS,
        Outcome,
        ProcessIdentity,
        Progress,
        RunReport,
        RunState,
        Usage,
    )
    from rompy_core._rules import OutputPattern, OutputRules, ProgressPattern
    from rompy_core._running import run_to_end
    from rompy_core._schema import config_schema, schema_formats
    from rompy_core._series import newest_progress, newest_usage, read_progress, read_usage
    from rompy_core._stalls import StallDetector
    from rompy_core._structure import masked_config, structure_config, unstructure_config
    from rompy_core._writing import replace_file

__all__ = [
    "FAILED_RECORDS",
    "RECORDS",
    "BackendConfig",
    "BaseHandle",
    "Capability",
    "CheckingBackend",
    "ConfigError",
    "Configured",
    "Execution",
    "FilesConfig",
    "LiveRun",
    "LocalPipelineBackend",
    "ModelConfig",
    "ModelRun",
    "ModelRunError",
    "ModelRunLike",
    "NoopPostprocessor",
    "Outcome",
    "OutputPattern",
    "OutputRules",
    "Period",
    "PipelineBackend",
    "PipelineConfig",
    "PipelineReport",
    "PipelineStage",
    "PluginConflictError",
    "PluginContractError",
    "PluginError",
    "PluginInfo",
    "PluginLoadError",
    "PluginNotFoundError",
    "Postprocessor",
    "PostprocessorConfig",
    "ProcessIdentity",
    "Progress",
    "ProgressPattern",
    "RecordError",
    "RompyError",
    "RunBackend",
    "RunHandle",
    "RunLogger",
    "RunRecord",
    "RunReport",
    "RunState",
    "StallDetector",
    "StartError",
    "SubmittingBackend",
    "TemplateConfig",
    "TemplateError",
    "Usage",
    "WorkspaceError",
    "cancel",
    "check_model_run",
    "check_options",
    "config_schema",
    "expected_workspace",
    "find_runs",
    "identify",
    "is_alive",
    "limit_reasons",
    "list_plugins",
    "load_config",
    "load_object",
    "load_plugin",
    "masked_config",
    "newest_progress",
    "newest_usage",
    "open_record",
    "prepare_record",
    "read_pipeline",
    "read_progress",
    "read_report",
    "read_usage",
    "refuse_missing",
    "reopen_record",
    "replace_file",
    "run_to_end",
    "schema_formats",
    "show_progress",
    "structure_config",
    "unstructure_config",
]

_MODULES = {
    "_bars": "show_progress",
    "_binding": "check_options load_config",
    "_capabilities": "Capability refuse_missing",
    "_configs": "BackendConfig PipelineConfig PostprocessorConfig",
    "_errors": (
        "ConfigError ModelRunError PluginConflictError PluginContractError PluginError PluginLoadError "
        "PluginNotFoundError RecordError RompyError StartError TemplateError WorkspaceError"
    ),
    "_foreign": "check_model_run expected_workspace",
    "_limits": "limit_reasons",
    "_live": "BaseHandle LiveRun",
    "_logs": "RunLogger",
    "_model": "ModelRun Period",
    "_model_configs": "FilesConfig TemplateConfig",
    "_noop": "NoopPostprocessor",
    "_pipeline": "LocalPipelineBackend",
    "_pipeline_records": "PipelineReport PipelineStage read_pipeline",
    "_plugins": "PluginInfo list_plugins load_object load_plugin",
    "_processes": "identify is_alive",
    "_protocols": (
        "CheckingBackend Configured Execution ModelConfig ModelRunLike PipelineBackend Postprocessor RunBackend "
        "RunHandle SubmittingBackend"
    ),
    "_records": "RunRecord cancel find_runs open_record prepare_record read_report reopen_record",
    "_reports": "FAILED_RECORDS RECORDS Outcome ProcessIdentity Progress RunReport RunState Usage",
    "_rules": "OutputPattern OutputRules ProgressPattern",
    "_running": "run_to_end",
    "_schema": "config_schema schema_formats",
    "_series": "newest_progress newest_usage read_progress read_usage",
    "_stalls": "StallDetector",
    "_structure": "masked_config structure_config unstructure_config",
    "_writing": "replace_file",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
