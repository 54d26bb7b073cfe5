r"""Rules by a model's name, as plain data; the source of each pattern stands beside it.

Fatal is only what the model writes when it has given up for certain: a healthy run that is called a failure is as bad
as the opposite. Whatever else goes wrong is caught by what a run that succeeded always leaves: a line or a file.

The presets read standard output and standard error as they were captured. A command that redirects them elsewhere
(``romsS < roms.in > roms.log``) needs rules of its own, with ``file``.

``on_fatal`` is ``fail`` where a model still writes something worth having after its fatal line and then ends by itself.
Globs of files that are read during the run name their directory: ``**`` would walk the workspace at every look.
"measured" is what a run on our machines printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_NUMBER: Final = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"

_SWAN: Final[Mapping[str, Any]] = {
    # swanmain.ftn, SWMAIN: made at the command STOP, by that name in serial and in parallel (since 40.13). It alone is
    # no success: after an error SWAN skips the computation and goes on to STOP. Measured: missing after a missing file.
    "required_files": ["**/norm_end"],
    "forbidden_files": [
        # ocpmix.ftn, MSGERR: opened by the first message above [maxerr], the level that the user's command SET
        # tolerates; "Errfile-001" and so on in parallel. Measured, with exit code 0.
        "**/Errfile*",
        # What the scripts around SWAN make of it, such as swan.bat of Delft3D.
        "**/*.erf*",
    ],
    "fatal": [
        # ocpmix.ftn, MSGERR, formats 12 (PRINT) and 14 (Errfile). In PRINT the levels "Error" and "Severe error" may
        # be tolerated by [maxerr], so they count in Errfile only, where just the levels above it are written.
        {"regex": r"^(?:Error|Severe error|Terminating error) *: ", "file": "Errfile*"},
        {"regex": r"^(?:Error|Severe error|Terminating error) *: ", "file": "*.erf*"},
        {"regex": r"^ \*\* Terminating error *: ", "file": "PRINT*"},
        # swanmain.ftn, SWMAIN, formats 6010 and 6030: written if, and only if, the level exceeds [maxerr].
        {"regex": r"^ \*\* No (?:start|continuation) of computation because +of error level", "file": "PRINT*"},
    ],
    # Its files are buffered: whoever kills SWAN at an error loses the end of PRINT, which explains it.
    "on_fatal": "fail",
    "progress": {
        # swancom1.ftn, SWCOMP, format 313 ("; sweep" ends it), SwanCompUnstruc.ftn90, format 110 (without); measured.
        # ISO times only, the default. A stationary computation writes no time, so it shows no progress.
        "regex": r"^\+? *time +(?P<date>\d{8}\.\d{6}) *, *step +\d+; iteration",
        "date_format": "%Y%m%d.%H%M%S",
    },
}

_XBEACH: Final[Mapping[str, Any]] = {
    # logging.F90, writelog_finalize, to the screen and to XBlog.txt; older versions print it in xbeach.F90.
    "success": [r"^\s*End of program xbeach"],
    "fatal": [
        # xmpi.F90, halt_program, standard error. Versions before it end without a word, so without the line above.
        r"^\s*halt_program called by process",
        # timestep.F90, timestep: "implodes" in older versions, which leave the loop, "implodes/explodes" in newer.
        r"^\s*Quit XBeach since computational time (?:im|ex)plodes",
    ],
    # output.F90, output_error: one more output of all variables follows, then the halt.
    "on_fatal": "fail",
    # output.F90, log_progress; measured. Every 5 s, so a run ends a little below 100 %. "100.0% done" is another
    # thing: logging.F90, progress_indicator, the making of the boundary file before the run.
    "progress": r"^\s*Simulation +(?P<percent>[\d.]+) percent complete",
}

_SFINCS: Final[Mapping[str, Any]] = {
    # sfincs_lib.f90, sfincs_finalize (later sfincs_log.f90, write_finished_log): "Simulation finished" between dashes;
    # "is finished" as in the manual, "Output messages". Written after an instability, too.
    "success": [r"^\s*-+ ?Simulation (?:is )?finished ?-+"],
    "fatal": [
        # sfincs_error.f90, stop_sfincs; measured, on standard output and with exit code 2.
        r"^\s*Error +: ",
        # sfincs_lib.f90, sfincs_update: "Maximum depth of 100.0 m reached!!! Simulation stopped." in older versions,
        # with exit code 0; later "Error! Minimum time step of ... reached ! ... Simulation stopped." as the last line.
        r"^\s*(?:Maximum depth|Error ?! Minimum time step) of .*Simulation stopped\.",
    ],
    # sfincs_lib.f90, sfincs_update: the state at the instability is written after the line.
    "on_fatal": "fail",
    # sfincs_lib.f90, sfincs_update (later sfincs_log.f90, write_progress_log), format (i4,a,f7.1,a); measured.
    "progress": r"^\s*(?P<percent>\d+)% complete,",
}

_SCHISM: Final[Mapping[str, Any]] = {
    # schism_finalize.F90, unit 16. That file is replaced at each start, also at a hot start (schism_init.F90).
    "success": [{"regex": r"^Run completed successfully at ", "file": "outputs/mirror.out"}],
    "fatal": [
        # schism_msgp.F90, parallel_abort, format (i4,2a): the rank (stars from 10000 on), then the message. It aborts
        # with code 0, hence exit code 0 under some MPIs (schism-dev/schism issue 125, pyPoseidon issue 155).
        r"(?:^|\s)(?:\d+|\*+): (?:ABORT|MPI ERROR): ",
        # The same to unit 11. The file is there in each run and empty in a good one (schism_init.F90).
        {"regex": r"^\s*(?:\d+|\*+): (?:ABORT|MPI ERROR): ", "file": "outputs/fatal.error"},
        # schism-dev/schism issue 125, with exit code 0.
        r"^\s*Must have at least 1 cmd argument: # of scribes",
    ],
    "progress": {
        # schism_init.F90, "time stepping begins..." with the first and the last step (the manual's sample of
        # mirror.out), and schism_step.F90, format (a,i12,a,f20.6), flushed at every step. So no period is
        # needed; after a hot start with ihot=2 the count goes on where it was.
        "regex": (
            r"^\s*time stepping begins\.+\s+\d+\s+(?P<total>\d+)"
            r"|^TIME STEP=\s*(?P<current>\d+); +TIME="
        ),
        "file": "outputs/mirror.out",
    },
}

_WW3: Final[Mapping[str, Any]] = {
    # ww3_shel.F90 and ww3_multi.F90, format 999, and the programs that prepare the run. ww3_shel writes it after an
    # error in a forcing file, too, and then ends with exit code 0 (it goes to label 2222 where IERR > 0).
    "success": [r"^\s*End of program\s*$"],
    "fatal": [
        # The formats of all of WW3, such as w3fldsmd.F90, W3FLDG, 1001 to 1007, and ww3_shel.F90, 1000 to 1062; some
        # have a hyphen (w3snl3md.F90). "*** WAVEWATCH III WARNING IN" is another thing, and common.
        r"\*\*\* WAVEWATCH[ -]III ERROR IN ",
        # w3servmd.F90, EXTCDE, with a message or under MPI.
        r"^\s*(?:WW3 ERROR:|EXTCDE MPI_ABORT, IEXIT=)",
    ],
    "progress": {
        # w3wavemd.F90, W3WAVE, format 950; wmwavemd.F90, WMWAVE, format 901.
        "regex": r"^\s*(?:WAVEWATCH III|MWW3) calculating for (?P<date>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)",
        "date_format": "%Y/%m/%d %H:%M:%S",
    },
}

_ROMS: Final[Mapping[str, Any]] = {  # of myroms.org, and COAWST
    # close_io.F, close_out, format 50 or 60: "ROMS/TOMS: DONE... ", since 2025 "ROMS: DONE... ".
    "success": [r"^\s*ROMS(?:/TOMS)?: DONE\b"],
    "fatal": [
        # nl_roms.h, ROMS_finalize, format 10. It resets exit_flag, so older versions and COAWST print DONE after it:
        # their close_io.F looks at exit_flag before it looks at blowup.
        r"^\s*Blowing-up: Saving latest model state into",
        # close_io.F, close_out, formats 50 to 80.
        r"^\s*(?:MAIN|ERROR): Abnormal termination: ",
        # close_io.F, close_out, formats 90 to 140.
        r"^\s*ERROR: (?:I/O related problem|Illegal (?:model configuration|domain partition|input parameter))\.",
        r"^\s*ERROR: Fatal (?:algorithm result|frazil ice check)\.",
    ],
    # The restart file with the state of the blow-up follows the line.
    "on_fatal": "fail",
    # nl_roms.h, ROMS_run, format 10, with the first and the last step, and diag.F, format 20 or 30: step, then day or
    # date, time, energies. With nested grids the last grid's steps count. After a restart the count goes on where it
    # was.
    "progress": (
        r"started time-stepping:.*TimeSteps: *\d+ *- *(?P<total>\d+)"
        r"|^ *(?P<current>\d+) +\S+ +\d\d:\d\d:\d\d(?:\.\d+)? +[\d.E+-]+\s"
    ),
}

_ANUGA: Final[Mapping[str, Any]] = {
    # No line of success: it is a library, and its exit code is Python's, to be relied upon.
    "fatal": [
        # Python's uncaught exceptions; they count where the exit code is lost, as in "python case.py | tee log".
        r"^Traceback \(most recent call last\):",
        # anuga_toml_run, which redirects itself, and log.py, log_exception_hook; measured, with nothing on the
        # terminal.
        {"regex": r"^Traceback \(most recent call last\):", "file": "*/RUN_*/Simulation_logfile.log"},
    ],
    # generic_domain.py, timestepping_statistics, and anuga_toml_run, section EVOLVE, for the total; measured, both.
    # The last form is that of a script which prints "Time = 10.0 / 30.0". Other units than seconds are left alone.
    "progress": (
        rf"(?:^\s*Time = (?P<current>{_NUMBER})(?: \(sec\),| / )|\bfinaltime (?={_NUMBER} s\b))(?P<total>{_NUMBER})?"
    ),
}

_OPENFOAM: Final[Mapping[str, Any]] = {
    # No line of success: "End" goes to log.<application> where a script uses runApplication; the exit code is right.
    "fatal": [
        # error.C and IOerror.C, exit and abort, on standard error, by each rank in parallel; measured, exit code 1.
        r"^(?:\[\d+\] *)?--> FOAM FATAL (?:IO )?ERROR\b",
        # bin/tools/RunFunctions, runApplication and runParallel, which go on after a failure.
        {"regex": r"^(?:\[\d+\] *)?--> FOAM FATAL (?:IO )?ERROR\b", "file": "log.*"},
    ],
    # The loop of each solver; with the unit in newer versions; measured. "ExecutionTime = 3.1 s" is another thing.
    # Times are seconds, so the total is the length of the model run's period.
    "progress": rf"^Time = (?P<current>{_NUMBER})s?[ \t]*$",
}

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "anuga": _ANUGA,
    "openfoam": _OPENFOAM,
    "roms": _ROMS,
    "schism": _SCHISM,
    "sfincs": _SFINCS,
    "swan": _SWAN,
    "ww3": _WW3,
    "xbeach": _XBEACH,
}
"""The rules of each model, as ``OutputRules`` reads them."""
