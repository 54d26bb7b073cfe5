"""Each model's rules against output in its format: runs that worked, each way to fail with exit code 0, near misses.

All excerpts are made up, in the format that the model's source writes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rompy_core import ConfigError, Outcome, OutputRules, Period, RunState, structure_config, unstructure_config
from rompy_core._presets import PRESETS
from rompy_core._rules import as_rules
from rompy_core._verdict import judge
from rompy_core._watch import OutputWatcher

DAY = Period(start="2023-03-01T00:00:00", end="2023-03-02T00:00:00")
MINUTE = Period(start="2023-03-01T00:00:00", end="2023-03-01T00:01:00")


class Case:
    """The output of one run, as it is found in its workspace."""

    def __init__(self, workspace_dir: Path, preset: str, period: Period | None = None) -> None:
        self.preset = preset
        self.workspace_dir = workspace_dir
        self.stdout = workspace_dir / ".rompy" / "run" / "stdout.log"
        self.stderr = self.stdout.with_name("stderr.log")
        self.stdout.parent.mkdir(parents=True)
        self.period = period
        self.write(self.stdout, "")
        self.write(self.stderr, "")

    def write(self, path: Path | str, text: str) -> Path:
        path = self.workspace_dir / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def watcher(self) -> OutputWatcher:
        return OutputWatcher(
            as_rules(self.preset),
            self.workspace_dir,
            stdout_path=self.stdout,
            stderr_path=self.stderr,
            since=0.0,
            period=self.period,
        )

    def ended(self) -> OutputWatcher:
        watcher = self.watcher()
        watcher.scan(at_end=True)
        return watcher

    def fractions_of(self, path: Path | str, text: str) -> list[float]:
        """Feed *text* line by line, and give what the progress was after each line."""
        watcher, fractions = self.watcher(), []
        for end in range(1, text.count("\n") + 1):
            self.write(path, "".join(text.splitlines(keepends=True)[:end]))
            watcher.scan()
            if watcher.progress is not None:
                fractions.append(watcher.progress.fraction)
        return fractions


def verdict(watcher: OutputWatcher) -> tuple[RunState, str]:
    return judge(Outcome(exit_code=0), watcher)


def hit(watcher: OutputWatcher) -> tuple[str, int]:
    assert watcher.fatal is not None, "no fatal line was found"
    return watcher.fatal.file, watcher.fatal.number


# --- all of them ---


def test_there_is_a_preset_for_each_promised_model() -> None:
    names = set(PRESETS)

    assert names == {"swan", "xbeach", "sfincs", "schism", "ww3", "roms", "anuga", "openfoam"}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_survives_the_way_through_plain_data(name: str) -> None:
    rules = as_rules(name)

    again = structure_config(unstructure_config(rules), OutputRules)

    assert again == rules
    assert again != OutputRules()


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_trusts_the_exit_code_and_tells_progress(name: str) -> None:
    rules = as_rules(name)

    code, progress = rules.ignore_exit_code, rules.progress

    assert not code
    assert progress is not None


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_files_that_are_read_during_the_run_are_not_searched_for_in_the_whole_workspace(name: str) -> None:
    rules = as_rules(name)

    globs = [p.file for p in (*rules.fatal, *rules.success, rules.progress) if p is not None and p.file is not None]

    assert not [glob for glob in globs if "**" in glob]


@pytest.mark.parametrize("name", ["roms", "sfincs", "swan", "xbeach"])
def test_a_model_that_writes_more_after_a_fatal_line_may_end_by_itself(name: str) -> None:
    rules = as_rules(name)

    assert rules.on_fatal == "fail"


def test_an_unknown_preset_is_refused_with_the_known_ones_and_the_nearest() -> None:
    wrong = {"rules": "swann"}

    with pytest.raises(ValueError, match="'swann'") as caught:
        as_rules(wrong["rules"])

    assert "did you mean 'swan'?" in str(caught.value)
    assert all(name in str(caught.value) for name in PRESETS)


def test_a_preset_is_a_name_and_not_a_field_of_its_rules() -> None:
    table = {"preset": "swan"}

    with pytest.raises(ConfigError, match="preset"):
        as_rules(table)


# --- SWAN ---

SWAN_SCREEN = """
 SWAN is preparing computation

+time 20230301.060000   , step      1; iteration    1; sweep 1
+time 20230301.060000   , step      1; iteration    1; sweep 2
 accuracy OK in  12.38 % of wet grid points ( 98.00 % required)
+time 20230301.120000   , step      2; iteration    1; sweep 1
 accuracy OK in  98.91 % of wet grid points ( 98.00 % required)
+time 20230302.000000   , step      4; iteration    3; sweep 4
"""
SWAN_PRINT = """1
 COMPUTE NONSTAT 20230301.000000 6 HR 20230302.000000
 ** Warning          : wind speed is small
 Time of computation ->  20230301.060000     in sec:      21600.
"""


def swan(tmp_path: Path, *, done: bool = True, print_file: str = SWAN_PRINT) -> Case:
    case = Case(tmp_path, "swan", DAY)
    case.write(case.stdout, SWAN_SCREEN)
    case.write("PRINT", print_file)
    if done:
        case.write("norm_end", "  Normal end of run 01\n")
    return case


def test_a_swan_run_with_norm_end_is_a_success(tmp_path: Path) -> None:
    case = swan(tmp_path)

    watcher = case.ended()

    assert watcher.violations() == []
    assert verdict(watcher)[0] is RunState.COMPLETED
    assert watcher.progress is not None
    assert watcher.progress.fraction == 1.0


def test_swan_tells_its_progress_by_the_date_and_not_by_the_accuracy(tmp_path: Path) -> None:
    case = Case(tmp_path, "swan", DAY)

    fractions = case.fractions_of(case.stdout, SWAN_SCREEN)

    assert sorted(set(fractions)) == [0.25, 0.5, 1.0]
    assert fractions == sorted(fractions)


def test_swan_on_an_unstructured_grid_tells_its_progress_too(tmp_path: Path) -> None:
    case = Case(tmp_path, "swan", DAY)

    fractions = case.fractions_of(case.stdout, "+time 20230301.120000   , step     12; iteration    1\n")

    assert fractions == [0.5]


def test_a_stationary_swan_run_succeeds_without_progress(tmp_path: Path) -> None:
    case = swan(tmp_path)
    case.write(case.stdout, " SWAN is preparing computation\n iteration    1; sweep 1\n+iteration    1; sweep 2\n")

    watcher = case.ended()

    assert watcher.violations() == []
    assert watcher.progress is None


def test_a_parallel_swan_run_is_a_success(tmp_path: Path) -> None:
    case = swan(tmp_path)
    case.write("PRINT-001", SWAN_PRINT)
    case.write("PRINT-002", SWAN_PRINT)

    watcher = case.ended()

    assert watcher.violations() == []


def test_a_swan_run_that_missed_a_file_is_a_failure_that_names_it(tmp_path: Path) -> None:
    case = swan(tmp_path, done=False)
    case.write(case.stdout, "\n SWAN is preparing computation\n")
    case.write("Errfile", "Terminating error: File cannot be opened/does not exist: bay.bot\n")

    watcher = case.ended()
    state, reason = verdict(watcher)

    assert state is RunState.FAILED
    assert hit(watcher) == ("Errfile", 1)
    assert "bay.bot" in reason
    assert "norm_end" in reason
    assert "forbidden file 'Errfile'" in reason


def test_a_swan_run_with_an_illegal_keyword_fails_although_it_wrote_norm_end(tmp_path: Path) -> None:
    refused = " ** No start of computation because of error level:  2\n"
    case = swan(tmp_path, print_file=SWAN_PRINT + " ** Error            : Illegal keyword: CGIRD\n" + refused)
    case.write("Errfile", "Error            : Illegal keyword: CGIRD\n")

    watcher = case.ended()

    assert verdict(watcher)[0] is RunState.FAILED
    assert "the forbidden file 'Errfile' was written" in watcher.violations()


def test_a_refused_swan_computation_is_found_in_print_alone(tmp_path: Path) -> None:
    case = swan(tmp_path, print_file=SWAN_PRINT + " ** No start of computation because of error level:  2\n")

    watcher = case.ended()

    assert verdict(watcher)[0] is RunState.FAILED
    assert hit(watcher) == ("PRINT", 5)


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (" ** No continuation of computation because of error level:  3\n", 5),
        (" ** Terminating error: Allocation problem: array COMPDA and return code is 5014\n", 5),
    ],
)
def test_a_swan_run_that_gave_up_underway_is_a_failure(tmp_path: Path, line: str, number: int) -> None:
    case = swan(tmp_path, print_file=SWAN_PRINT + line)

    watcher = case.ended()

    assert hit(watcher) == ("PRINT", number)


def test_a_rank_of_swan_that_failed_fails_the_run(tmp_path: Path) -> None:
    case = swan(tmp_path)
    case.write("Errfile-003", "Severe error     : File open failed, filename: wind.dat\n")

    watcher = case.ended()

    assert hit(watcher) == ("Errfile-003", 1)
    assert "the forbidden file 'Errfile-003' was written" in watcher.violations()


def test_an_errfile_that_a_script_renamed_fails_the_run(tmp_path: Path) -> None:
    case = swan(tmp_path)
    case.write("bay.erf", "Error            : Unexpected end of file while reading wind.dat\n")

    watcher = case.ended()

    assert hit(watcher) == ("bay.erf", 1)
    assert "the forbidden file 'bay.erf' was written" in watcher.violations()


def test_a_swan_run_in_a_directory_of_the_workspace_is_judged_too(tmp_path: Path) -> None:
    case = Case(tmp_path, "swan", DAY)
    case.write("model/norm_end", "  Normal end of run\n")
    good = case.ended().violations()
    case.write("model/Errfile", "Error            : Illegal keyword: CGIRD\n")

    bad = case.ended().violations()

    assert good == []
    assert bad == ["the forbidden file 'model/Errfile' was written"]


def test_swan_errors_that_the_user_tolerates_by_maxerr_are_not_fatal(tmp_path: Path) -> None:
    tolerated = " ** Error            : Error while reading file wind.dat\n ** Severe error     : depth is negative\n"
    case = swan(tmp_path, print_file="SET LEVEL 0.0 MAXERR 3\n" + SWAN_PRINT + tolerated)

    watcher = case.ended()

    assert watcher.violations() == []


# --- XBeach ---

XBEACH_SCREEN = """ **********************************************************
                    Welcome to XBeach
 **********************************************************
 Generating JONSWAP spectrum
 50.0% done
 100.0% done
 Initializing .....
 Simulation   4.5 percent complete. Average dt   0.123 seconds
 Time remaining   2 minutes and 10 seconds
 Simulation  52.0 percent complete. Average dt   0.121 seconds
 Simulation  97.5 percent complete. Average dt   0.122 seconds
 Duration   :    155.25 seconds
 Timesteps  :        29411
 End of program xbeach
"""


def test_an_xbeach_run_that_says_its_end_is_a_success(tmp_path: Path) -> None:
    case = Case(tmp_path, "xbeach")
    case.write(case.stdout, XBEACH_SCREEN)

    watcher = case.ended()

    assert watcher.violations() == []
    assert verdict(watcher)[0] is RunState.COMPLETED


def test_xbeach_tells_the_progress_of_the_simulation_and_not_of_its_boundary_file(tmp_path: Path) -> None:
    case = Case(tmp_path, "xbeach")

    fractions = case.fractions_of(case.stdout, XBEACH_SCREEN)

    assert sorted(set(fractions)) == pytest.approx([0.045, 0.52, 0.975])
    assert fractions == sorted(fractions)


def test_an_xbeach_run_that_stops_in_the_middle_is_a_failure(tmp_path: Path) -> None:
    case = Case(tmp_path, "xbeach")
    case.write(case.stdout, XBEACH_SCREEN.partition(" Duration")[0])

    watcher = case.ended()

    assert watcher.fatal is None
    assert verdict(watcher)[0] is RunState.FAILED
    assert "End of program" in watcher.violations()[0]


def test_an_xbeach_run_that_halts_is_a_failure(tmp_path: Path) -> None:
    case = Case(tmp_path, "xbeach")
    case.write(case.stdout, " Error opening file 'bed.dep'\n")
    case.write(case.stderr, " Error opening file 'bed.dep'\n halt_program called by process           0\n")

    watcher = case.ended()

    assert hit(watcher) == ("stderr", 2)
    assert verdict(watcher)[0] is RunState.FAILED


@pytest.mark.parametrize("word", ["implodes", "implodes/explodes"])
def test_an_xbeach_run_whose_time_step_collapsed_fails_although_it_says_its_end(tmp_path: Path, word: str) -> None:
    case = Case(tmp_path, "xbeach")
    case.write(case.stdout, f" Quit XBeach since computational time {word}\n{XBEACH_SCREEN}")

    watcher = case.ended()

    assert hit(watcher) == ("stdout", 1)
    assert verdict(watcher)[0] is RunState.FAILED


# --- SFINCS ---

SFINCS_SCREEN = """
------------ Welcome to SFINCS ------------

Info    : reading mask file : sfincs.msk
Warning : observation point station_7 falls outside model domain.

---------- Starting simulation -----------

   0% complete,       - s remaining ...
  35% complete,    12.7 s remaining ...
  70% complete,     5.1 s remaining ...
 100% complete,     0.0 s remaining ...

---------- Simulation finished -----------

 Total time             :     18.250
 Time in momentum       :     11.125 ( 60.9%)

---------- Closing off SFINCS -----------
"""


@pytest.mark.parametrize("end", ["---------- Simulation finished ----------", "---Simulation is finished---"])
def test_a_finished_sfincs_run_is_a_success_in_each_spelling(tmp_path: Path, end: str) -> None:
    case = Case(tmp_path, "sfincs")
    case.write(case.stdout, SFINCS_SCREEN.replace("---------- Simulation finished -----------", f" {end}"))

    watcher = case.ended()

    assert watcher.violations() == []
    assert verdict(watcher)[0] is RunState.COMPLETED


def test_sfincs_tells_its_progress_and_not_the_shares_of_its_timers(tmp_path: Path) -> None:
    case = Case(tmp_path, "sfincs")

    fractions = case.fractions_of(case.stdout, SFINCS_SCREEN)

    assert sorted(set(fractions)) == [0.0, 0.35, 0.7, 1.0]
    assert fractions == sorted(fractions)


def test_a_sfincs_run_without_an_input_file_is_a_failure_that_names_it(tmp_path: Path) -> None:
    case = Case(tmp_path, "sfincs")
    case.write(case.stdout, '\nError   : Boundary file "sfincs.bnd" not found! SFINCS has stopped!\n')

    watcher = case.ended()
    state, reason = verdict(watcher)

    assert state is RunState.FAILED
    assert hit(watcher) == ("stdout", 2)
    assert "sfincs.bnd" in reason


@pytest.mark.parametrize(
    "line",
    [
        "Maximum depth of 100.0 m reached!!! Simulation stopped.",
        "Error! Minimum time step of .0010 s reached ! Current velocity exceeded uvmax 1000.0 m/s. Simulation stopped.",
    ],
)
def test_an_unstable_sfincs_run_fails_although_it_says_that_it_finished(tmp_path: Path, line: str) -> None:
    case = Case(tmp_path, "sfincs")
    case.write(case.stdout, f"{SFINCS_SCREEN}\n{line}\n")

    watcher = case.ended()

    assert watcher.fatal is not None
    assert watcher.fatal.line == line
    assert verdict(watcher)[0] is RunState.FAILED


def test_a_sfincs_run_that_stops_in_the_middle_is_a_failure(tmp_path: Path) -> None:
    case = Case(tmp_path, "sfincs")
    case.write(case.stdout, SFINCS_SCREEN.partition("  70%")[0])

    watcher = case.ended()

    assert watcher.fatal is None
    assert verdict(watcher)[0] is RunState.FAILED


# --- SCHISM ---

SCHISM_MIRROR = """Run begins at 20230301, 101530.250
 # of tracers in each module:            1            1            0
 done reading param.nml
 time stepping begins...            1          288
 done solver; etatot=   3.12E-002 ; average |eta|=  4.55E-005
TIME STEP=           72;  TIME=         21600.000000
TIME STEP=          144;  TIME=         43200.000000
 hot start written         144   43200.0000000000                1          21
TIME STEP=          288;  TIME=         86400.000000

Run completed successfully at 20230301, 104512.500
"""


def schism(tmp_path: Path, mirror: str = SCHISM_MIRROR, fatal: str = "") -> Case:
    case = Case(tmp_path, "schism")
    case.write("outputs/fatal.error", fatal)
    case.write("outputs/mirror.out", mirror)
    return case


def test_a_schism_run_with_an_empty_fatal_error_file_is_a_success(tmp_path: Path) -> None:
    case = schism(tmp_path)
    case.write("outputs/nonfatal_000000", " Warning: depth is negative\n   0: ABORT: is what it would say\n")

    watcher = case.ended()

    assert watcher.violations() == []
    assert verdict(watcher)[0] is RunState.COMPLETED


@pytest.mark.parametrize("period", [None, DAY, MINUTE])
def test_schism_tells_its_progress_by_its_own_steps_whatever_the_period(tmp_path: Path, period: Period | None) -> None:
    case = Case(tmp_path, "schism", period)

    fractions = case.fractions_of("outputs/mirror.out", SCHISM_MIRROR)

    assert sorted(set(fractions)) == [0.25, 0.5, 1.0]
    assert fractions == sorted(fractions)


@pytest.mark.parametrize("rank", ["   0", "  17", "****"])
def test_a_schism_run_that_aborts_is_a_failure_that_says_why(tmp_path: Path, rank: str) -> None:
    line = f"{rank}: ABORT: INIT: illegal iveg,           7\n"
    case = schism(tmp_path, SCHISM_MIRROR.partition("TIME")[0], fatal=line)
    case.write(case.stdout, "MPI starts\n" + line)

    watcher = case.ended()
    state, reason = verdict(watcher)

    assert state is RunState.FAILED
    assert hit(watcher) == ("stdout", 2)
    assert "illegal iveg" in reason
    assert "Run completed successfully" in reason


def test_an_abort_of_schism_is_found_in_its_file_where_the_screen_is_lost(tmp_path: Path) -> None:
    case = schism(tmp_path, fatal="   3: MPI ERROR: message truncated\n")

    watcher = case.ended()

    assert hit(watcher) == ("outputs/fatal.error", 1)


def test_a_schism_run_without_the_number_of_scribes_is_a_failure(tmp_path: Path) -> None:
    case = Case(tmp_path, "schism")
    case.write(case.stdout, " Must have at least 1 cmd argument: # of scribes to run, or -v for version.\n")

    watcher = case.ended()

    assert hit(watcher) == ("stdout", 1)
    assert verdict(watcher)[0] is RunState.FAILED


def test_a_schism_run_that_stops_in_the_middle_is_a_failure(tmp_path: Path) -> None:
    case = schism(tmp_path, SCHISM_MIRROR.partition("\nRun completed")[0])

    watcher = case.ended()

    assert watcher.fatal is None
    assert verdict(watcher)[0] is RunState.FAILED


def test_what_mpi_says_of_itself_does_not_fail_a_schism_run(tmp_path: Path) -> None:
    case = schism(tmp_path)
    case.write(case.stderr, "WARNING: there was an error initializing an OpenFabrics device.\n Local device: mlx4_0\n")

    watcher = case.ended()

    assert watcher.violations() == []


# --- WAVEWATCH III ---

WW3_SCREEN = """
                     *** WAVEWATCH III Program shell ***
               ===============================================

  Time interval :
 --------------------------------------------------
       Starting time : 2023/03/01 00:00:00 UTC
       Ending time   : 2023/03/02 00:00:00 UTC

  WAVEWATCH III calculating for 2023/03/01 06:00:00 UTC at 10:20:31

 *** WAVEWATCH III WARNING IN W3IOBC :
     INPUT FILE WITH BOUNDARY CONDITIONS NOT FOUND

  WAVEWATCH III calculating for 2023/03/01 18:00:00 UTC at 10:20:33
  WAVEWATCH III calculating for 2023/03/02 00:00:00 UTC at 10:20:35
  WAVEWATCH III reached the end of a computation loop at 10:20:35

  Initialization time :      0.25 s
  Elapsed time        :      4.75 s
"""
WW3_END = """
  End of program
 ====================================
         WAVEWATCH III Program shell
"""


def test_a_ww3_run_with_a_warning_is_a_success(tmp_path: Path) -> None:
    case = Case(tmp_path, "ww3", DAY)
    case.write(case.stdout, WW3_SCREEN + WW3_END)

    watcher = case.ended()

    assert watcher.violations() == []
    assert verdict(watcher)[0] is RunState.COMPLETED


@pytest.mark.parametrize("program", ["WAVEWATCH III", "MWW3"])
def test_ww3_tells_its_progress_by_the_date(tmp_path: Path, program: str) -> None:
    case = Case(tmp_path, "ww3", DAY)

    fractions = case.fractions_of(case.stdout, WW3_SCREEN.replace("  WAVEWATCH III calc", f"  {program} calc"))

    assert sorted(set(fractions)) == [0.25, 0.75, 1.0]
    assert fractions == sorted(fractions)


def test_a_ww3_run_with_a_broken_forcing_file_fails_although_it_ends_its_program(tmp_path: Path) -> None:
    case = Case(tmp_path, "ww3", DAY)
    error = " *** WAVEWATCH III ERROR IN W3FLDG : \n     PREMATURE END OF FILE, IOSTAT =    -1\n"
    case.write(case.stdout, "  Running model with input fields\n\n" + error + WW3_END)

    watcher = case.ended()

    assert hit(watcher) == ("stdout", 3)
    assert verdict(watcher)[0] is RunState.FAILED


@pytest.mark.parametrize(
    "line",
    [
        " *** WAVEWATCH III ERROR IN W3SHEL : *** ",
        " *** WAVEWATCH-III ERROR IN INSNL3 :",
        "WW3 ERROR: allocation failed",
        "EXTCDE MPI_ABORT, IEXIT=    60",
    ],
)
def test_a_ww3_run_that_gives_up_is_a_failure(tmp_path: Path, line: str) -> None:
    case = Case(tmp_path, "ww3", DAY)
    case.write(case.stderr, f"\n{line}\n")

    watcher = case.ended()

    assert hit(watcher) == ("stderr", 2)
    assert verdict(watcher)[0] is RunState.FAILED


def test_a_ww3_run_that_stops_in_the_middle_is_a_failure(tmp_path: Path) -> None:
    case = Case(tmp_path, "ww3", DAY)
    case.write(case.stdout, WW3_SCREEN)

    watcher = case.ended()

    assert watcher.fatal is None
    assert verdict(watcher)[0] is RunState.FAILED


# --- ROMS ---

ROMS_SCREEN = """
 Process Information:

 NL ROMS/TOMS: started time-stepping: (Grid: 01 TimeSteps: 000000000001 - 000000000288)

   STEP   Day HH:MM:SS  KINETIC_ENRG   POTEN_ENRG    TOTAL_ENRG    NET_VOLUME
          C => (i,j,k)       Cu            Cv            Cw         Max Speed

      0 60000 00:00:00  0.000000E+00  6.585677E+02  6.585677E+02  3.884376E+11
          (00,00,00)  0.000000E+00  0.000000E+00  0.000000E+00  0.000000E+00
     72 60000 06:00:00  2.691184E-03  1.043099E+04  1.043099E+04  6.221264E+13
    144 60000 12:00:00  2.715201E-03  1.043101E+04  1.043101E+04  6.221270E+13
      WRT_HIS     - wrote history  fields (Index=1,1) into time record = 0000002
    288 60001 00:00:00  2.720001E-03  1.043102E+04  1.043102E+04  6.221275E+13

 Elapsed CPU time (seconds):
"""
ROMS_2025 = """
 NL ROMS: started time-stepping: (Grid: 01 TimeSteps: 1 - 288)

 TIME-STEP YYYY-MM-DD hh:mm:ss.ss  KINETIC_ENRG   POTEN_ENRG    TOTAL_ENRG    NET_VOLUME
         0 2023-03-01 00:00:00.00  0.000000E+00  6.585677E+02  6.585677E+02  3.884376E+11
        72 2023-03-01 06:00:00.00  2.691184E-03  1.043099E+04  1.043099E+04  6.221264E+13
       144 2023-03-01 12:00:00.00  2.715201E-03  1.043101E+04  1.043101E+04  6.221270E+13
       288 2023-03-02 00:00:00.00  2.720001E-03  1.043102E+04  1.043102E+04  6.221275E+13
"""
ROMS_DONE = "\n ROMS/TOMS: DONE... Wednesday - March 1, 2023 - 10:45:12.50 AM\n"


@pytest.mark.parametrize(
    ("screen", "done"), [(ROMS_SCREEN, ROMS_DONE), (ROMS_2025, ROMS_DONE.replace("ROMS/TOMS", "ROMS"))]
)
def test_a_roms_run_that_is_done_is_a_success_in_each_version(tmp_path: Path, screen: str, done: str) -> None:
    case = Case(tmp_path, "roms")
    case.write(case.stdout, screen + done)

    watcher = case.ended()

    assert watcher.violations() == []
    assert verdict(watcher)[0] is RunState.COMPLETED


@pytest.mark.parametrize("screen", [ROMS_SCREEN, ROMS_2025])
@pytest.mark.parametrize("period", [None, DAY])
def test_roms_tells_its_progress_by_its_own_steps(tmp_path: Path, screen: str, period: Period | None) -> None:
    case = Case(tmp_path, "roms", period)

    fractions = case.fractions_of(case.stdout, screen)

    assert sorted(set(fractions)) == [0.0, 0.25, 0.5, 1.0]
    assert fractions == sorted(fractions)


def test_roms_with_nested_grids_ends_at_one_and_never_goes_back(tmp_path: Path) -> None:
    case = Case(tmp_path, "roms")
    start = " NL ROMS/TOMS: started time-stepping: (Grid: {} TimeSteps: 00000001 - {})\n"
    step = "{:7d} 60000 {}:00:00  2.691184E-03  1.043099E+04  1.043099E+04  6.221264E+13  {}\n"
    steps = [step.format(n * k, f"{n:02d}", grid) for n in (6, 12, 24) for k, grid in ((1, "01"), (3, "02"))]

    fractions = case.fractions_of(case.stdout, start.format("01", 24) + start.format("02", 72) + "".join(steps))

    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_a_roms_run_that_blew_up_fails_although_it_is_done(tmp_path: Path) -> None:
    case = Case(tmp_path, "roms")
    blow = "\n Blowing-up: Saving latest model state into  RESTART file\n     REASON: KEchar = N, PEchar = N\n"
    case.write(case.stdout, "    144 60000 12:00:00           NaN           NaN\n" + blow + ROMS_DONE)

    watcher = case.ended()

    assert hit(watcher) == ("stdout", 3)
    assert verdict(watcher)[0] is RunState.FAILED


@pytest.mark.parametrize(
    "line",
    [
        " MAIN: Abnormal termination: BLOWUP.",
        " ERROR: Abnormal termination: NetCDF INPUT.",
        " ERROR: I/O related problem.",
        " ERROR: Illegal domain partition.",
        " ERROR: Illegal input parameter.",
        " ERROR: Fatal algorithm result.",
    ],
)
def test_a_roms_run_that_ends_abnormally_is_a_failure(tmp_path: Path, line: str) -> None:
    case = Case(tmp_path, "roms")
    case.write(case.stdout, f"{ROMS_SCREEN}\n{line}\n")

    watcher = case.ended()

    assert watcher.fatal is not None
    assert watcher.fatal.line == line
    assert verdict(watcher)[0] is RunState.FAILED


def test_a_roms_run_that_stops_in_the_middle_is_a_failure(tmp_path: Path) -> None:
    case = Case(tmp_path, "roms")
    case.write(case.stdout, ROMS_SCREEN)

    watcher = case.ended()

    assert watcher.fatal is None
    assert verdict(watcher)[0] is RunState.FAILED


def test_what_roms_says_of_its_error_file_is_not_fatal(tmp_path: Path) -> None:
    case = Case(tmp_path, "roms")
    harmless = "             number of time records written in ERROR   file = 00000012\n"
    case.write(case.stdout, ROMS_SCREEN + harmless + ROMS_DONE)

    watcher = case.ended()

    assert watcher.violations() == []


# --- ANUGA ---

ANUGA_SCREEN = """WARNING: Could not import mpi4py - defining sequential interface
Time = 0.0000 (sec), steps=0 (0s), elapsed (0s), eta (??), mem=131MB
Time = 15.0000 (sec), delta t in [0.03194383, 0.03194383] (s), steps=32 (0s), elapsed (0s), eta (1s), mem=131MB
Time = 45.0000 (sec), delta t = 0.03194383 (s), steps=94 (1s), elapsed (1s), eta (0s), mem=131MB
Time = 60.0000 (sec), delta t = 0.03194383 (s), steps=32 (1s), elapsed (1s), eta (0s), mem=131MB
"""
TRACEBACK = """Traceback (most recent call last):
  File "case.py", line 7, in <module>
    domain = read("bay.msh")
FileNotFoundError: [Errno 2] No such file or directory: 'bay.msh'
"""


def test_an_anuga_run_without_an_exception_is_a_success(tmp_path: Path) -> None:
    case = Case(tmp_path, "anuga", MINUTE)
    case.write(case.stdout, ANUGA_SCREEN)
    case.write(case.stderr, "RuntimeWarning: invalid value encountered in divide\n")

    watcher = case.ended()

    assert watcher.violations() == []
    assert verdict(watcher)[0] is RunState.COMPLETED


def test_anuga_tells_its_progress_within_the_period(tmp_path: Path) -> None:
    case = Case(tmp_path, "anuga", MINUTE)

    fractions = case.fractions_of(case.stdout, ANUGA_SCREEN)

    assert sorted(set(fractions)) == [0.0, 0.25, 0.75, 1.0]
    assert fractions == sorted(fractions)


def test_anuga_from_a_toml_file_brings_its_own_total(tmp_path: Path) -> None:
    case = Case(tmp_path, "anuga", DAY)
    head = "   yieldstep 15 s   outputstep 15 s   starttime 0 s   finaltime 60 s\n"
    lines = "".join(f"   {line}\n" for line in ANUGA_SCREEN.splitlines()[1:])

    fractions = case.fractions_of(case.stdout, head + lines)

    assert sorted(set(fractions)) == [0.0, 0.25, 0.75, 1.0]


def test_a_script_that_prints_time_and_total_tells_its_progress(tmp_path: Path) -> None:
    case = Case(tmp_path, "anuga")

    fractions = case.fractions_of(case.stdout, "ranks = 1\nTime = 0.0 / 30.0\nTime = 10.0 / 30.0\nTime = 30.0 / 30.0\n")

    assert fractions == pytest.approx([0.0, 1 / 3, 1.0])


def test_other_lines_of_anuga_are_no_progress(tmp_path: Path) -> None:
    case = Case(tmp_path, "anuga", MINUTE)
    others = "Time = 0.5000 (min), steps=3\n finaltime 30 is less than current time 40! finaltime set to current time\n"

    fractions = case.fractions_of(case.stdout, others + "   yieldstep 15 s   finaltime inf s\n")

    assert fractions == []


def test_a_traceback_of_an_anuga_script_is_fatal_where_its_exit_code_is_lost(tmp_path: Path) -> None:
    case = Case(tmp_path, "anuga", MINUTE)
    case.write(case.stdout, ANUGA_SCREEN)
    case.write(case.stderr, "\n" + TRACEBACK)

    watcher = case.ended()

    assert hit(watcher) == ("stderr", 2)
    assert verdict(watcher)[0] is RunState.FAILED


def test_a_traceback_that_is_only_in_the_log_of_a_toml_run_is_found(tmp_path: Path) -> None:
    case = Case(tmp_path, "anuga", MINUTE)
    log = "output/RUN_20230301_101530_bay/Simulation_logfile.log"
    case.write(log, "2023-03-01 10:15:31,250 CRITICAL  case:7   |\n" + TRACEBACK)

    watcher = case.ended()

    assert hit(watcher) == (log, 2)
    assert verdict(watcher)[0] is RunState.FAILED


# --- OpenFOAM ---

FOAM_SCREEN = """Create time

Courant Number mean: 0 max: 0
deltaT = 15
Time = 15

DICPCG:  Solving for p_rgh, Initial residual = 0.001, Final residual = 2.5e-05, No Iterations 4
ExecutionTime = 3.1 s  ClockTime = 4 s

Time = 4.5e1

ExecutionTime = 6.2 s  ClockTime = 7 s

Time = 60s

ExecutionTime = 8.4 s  ClockTime = 9 s

End

"""
FOAM_FATAL = """

--> FOAM FATAL ERROR: (openfoam-2406)
Maximum number of iterations exceeded: 100

FOAM exiting

"""


def test_an_openfoam_run_that_reaches_its_end_is_a_success(tmp_path: Path) -> None:
    case = Case(tmp_path, "openfoam", MINUTE)
    case.write(case.stdout, FOAM_SCREEN)
    case.write("log.blockMesh", "Creating block mesh\n--> FOAM Warning : patch front is empty\nEnd\n")

    watcher = case.ended()

    assert watcher.violations() == []
    assert verdict(watcher)[0] is RunState.COMPLETED


def test_openfoam_tells_its_progress_by_the_model_time_and_not_by_the_execution_time(tmp_path: Path) -> None:
    case = Case(tmp_path, "openfoam", MINUTE)

    fractions = case.fractions_of(case.stdout, FOAM_SCREEN)

    assert sorted(set(fractions)) == [0.25, 0.75, 1.0]
    assert fractions == sorted(fractions)


def test_openfoam_without_a_period_has_no_progress_and_succeeds(tmp_path: Path) -> None:
    case = Case(tmp_path, "openfoam")
    case.write(case.stdout, FOAM_SCREEN)

    watcher = case.ended()

    assert watcher.violations() == []
    assert watcher.progress is None


@pytest.mark.parametrize(
    ("rank", "kind"), [("", "ERROR: "), ("", "IO ERROR: (openfoam-2406)"), ("[0] ", "ERROR: "), ("[3] ", "IO ERROR: ")]
)
def test_a_fatal_error_of_openfoam_is_a_failure(tmp_path: Path, rank: str, kind: str) -> None:
    case = Case(tmp_path, "openfoam", MINUTE)
    case.write(case.stderr, f"{rank}\n{rank}\n{rank}--> FOAM FATAL {kind}\n{rank}cannot find file\n")

    watcher = case.ended()

    assert hit(watcher) == ("stderr", 3)
    assert verdict(watcher)[0] is RunState.FAILED


def test_a_fatal_error_in_the_log_of_an_application_fails_a_script_that_went_on(tmp_path: Path) -> None:
    case = Case(tmp_path, "openfoam", MINUTE)
    case.write(case.stdout, "Running blockMesh on /case\nRunning interFoam on /case\n")
    case.write("log.interFoam", FOAM_SCREEN.partition("Time = 4.5e1")[0] + FOAM_FATAL)

    watcher = case.ended()

    assert watcher.fatal is not None
    assert watcher.fatal.file == "log.interFoam"
    assert verdict(watcher)[0] is RunState.FAILED


@pytest.mark.parametrize(
    "line", ["--> FOAM Warning : From function readStream", "    // stops on FOAM FATAL ERROR", "fatalErrors 0;"]
)
def test_what_only_looks_like_a_fatal_error_of_openfoam_is_none(tmp_path: Path, line: str) -> None:
    case = Case(tmp_path, "openfoam", MINUTE)
    case.write(case.stdout, f"{line}\n{FOAM_SCREEN}")

    watcher = case.ended()

    assert watcher.violations() == []
