"""The sub-commands of `scribe` and their options. Each imports its code when it is called, to keep --help fast."""

from __future__ import annotations

from typing import Annotated

import typer

from scribe.cli.environment import Environment
from scribe.version import __version__

DOCUMENTATION = """Recordings in, transcripts out: who said what, when.

A RunPod endpoint (RUNPOD_ENDPOINT_ID, RUNPOD_API_KEY) does the work, or with --local this machine. \
The variables are read from the environment or from .env in this folder.

Exit codes: 0 all done, 1 some failed, 2 the command is wrong, 3 nothing could be reached, 130 stopped by Ctrl-C."""
# Lines of at most 78 characters are not broken on a terminal of 80 columns.
EXAMPLES = """Examples:

scribe transcribe talk.mp3 --diarize -f srt,html -o out/

scribe transcribe meetings/ --name Anna=anna.wav --name Mark=mark.wav -f html

scribe transcribe https://example.com/talk.mp4 --language de

ffmpeg -i talk.mkv -f flac - | scribe transcribe - -f txt -o -

scribe transcribe inbox/ --watch --diarize -o out/

scribe transcribe interview.mp3 --local --model small

What is finished is not transcribed again: other formats are made from the json that lies in the output folder."""
AUDIO, SITE = "Transcription", "Where it runs"
Folder = Annotated[
    str, typer.Option("-o", "--output", metavar="FOLDER", help="For the transcripts and the state file; - for stdout.")
]
Formats = Annotated[
    list[str] | None,
    typer.Option("-f", "--format", metavar="LIST", help="Of json,srt,vtt,tsv,txt,html (default: json)."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any option of the job; VALUE is JSON or text."),
]
EndpointId = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Its id (default: RUNPOD_ENDPOINT_ID).", rich_help_panel=SITE),
]
ApiBase = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The API's address without the id (default: RunPod's).", rich_help_panel=SITE),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
JobId = Annotated[str, typer.Argument(metavar="JOB_ID")]

program = typer.Typer(
    help=DOCUMENTATION,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        print(f"scribe {__version__}")
        raise typer.Exit


@program.callback()
def common(
    _: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Declare the options before the sub-command."""


@program.command(epilog=EXAMPLES, no_args_is_help=True)
def transcribe(
    context: typer.Context,
    recording: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE_OR_URL",
            help="A recording, a folder of them, an address, a transcript.json, or - for the standard input.",
        ),
    ],
    diarize: Annotated[bool, typer.Option("--diarize", help="Separate the speakers.", rich_help_panel=AUDIO)] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE_OR_URL", help="Name this voice; implies --diarize.", rich_help_panel=AUDIO),
    ] = None,
    speakers: Annotated[int | None, typer.Option(metavar="N", help="How many.", rich_help_panel=AUDIO)] = None,
    min_speakers: Annotated[int | None, typer.Option(metavar="N", rich_help_panel=AUDIO)] = None,
    max_speakers: Annotated[int | None, typer.Option(metavar="N", rich_help_panel=AUDIO)] = None,
    channels: Annotated[
        str | None,
        typer.Option(metavar="mix|split", help="split: each channel is one speaker.", rich_help_panel=AUDIO),
    ] = None,
    align: Annotated[
        bool,
        typer.Option("--align", help="Words with their times: for subtitles and the page.", rich_help_panel=AUDIO),
    ] = False,
    language: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="en, de, ... (default: it is detected).", rich_help_panel=AUDIO),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="transcribe|translate", help="translate writes English.", rich_help_panel=AUDIO),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The speech model.", rich_help_panel=AUDIO)] = None,
    quality: Annotated[str | None, typer.Option(metavar="fast|balanced|best", rich_help_panel=AUDIO)] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The job's initial_prompt.", rich_help_panel=AUDIO)
    ] = None,
    hotwords: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Words to expect.", rich_help_panel=AUDIO)
    ] = None,
    settings: Settings = None,
    output: Folder = ".",
    formats: Formats = None,
    force: Annotated[bool, typer.Option("--force", help="Transcribe anew what is finished.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a recording on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but what failed.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Take new recordings from the folders as they arrive, until Ctrl-C.")
    ] = False,
    stdin_name: Annotated[
        str, typer.Option(metavar="NAME", help="What the recording from - is called, such as talk.mp3.")
    ] = "stdin",
    local: Annotated[
        bool, typer.Option("--local", help="Run on this machine; needs the worker's packages.", rich_help_panel=SITE)
    ] = False,
    endpoint: EndpointId = None,
    api_base: ApiBase = None,
    parallel: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, metavar="N", help="Jobs at once, 1 to 64 (default: 4; 1 with --local).", rich_help_panel=SITE
        ),
    ] = None,
    keep_uploads: Annotated[
        bool,
        typer.Option("--keep-uploads", help="Leave uploaded recordings in the storage.", rich_help_panel=SITE),
    ] = False,
) -> int:
    """Transcribe files, folders and addresses. After an interruption the same command continues where it stopped."""
    from scribe.cli.order import order_of
    from scribe.cli.run import Request
    from scribe.cli.run import transcribe as run

    order = order_of(
        formats or (),
        name or (),
        settings or (),
        diarization=diarize or None,
        align_output=align or None,
        language=language,
        task=task,
        model=model,
        quality=quality,
        num_speakers=speakers,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        channels=channels,
        initial_prompt=prompt,
        hotwords=hotwords,
    )
    request = Request(
        recordings=recording,
        order=order,
        output=output,
        endpoint=endpoint,
        api_base=api_base,
        parallel=parallel,
        stdin_name=stdin_name,
        keep_uploads=keep_uploads,
        force=force,
        json=as_json,
        quiet=quiet,
        watch=watch,
        local=local,
    )
    return run(request, Environment(), context.obj)


@program.command(no_args_is_help=True, epilog="Example: scribe status 2f9c1d-e1")
def status(
    job_id: JobId,
    endpoint: EndpointId = None,
    api_base: ApiBase = None,
    as_json: AsJson = False,
) -> int:
    """Show the status of a job at the endpoint. Exit code 0: it waits, runs or is done; 1: it failed or is unknown."""
    from scribe.cli.inspect import status as show

    return show(job_id, Environment(), endpoint, api_base, as_json)


@program.command(epilog="Example: MODEL_SET=demo scribe check")
def check(
    context: typer.Context,
    client: Annotated[bool, typer.Option("--client", help="The client's part alone: key, endpoint, storage.")] = False,
    endpoint: EndpointId = None,
    api_base: ApiBase = None,
    as_json: AsJson = False,
) -> int:
    """Show what works here and what to do about the rest.

    It checks the whole worker if its packages are installed, else what the client needs.
    """
    from scribe.cli.inspect import check as examine

    if not (client or endpoint or api_base or context.obj.missing()):
        return int(context.obj.check(as_json))
    return examine(Environment(), endpoint, api_base, as_json)


@program.command(no_args_is_help=True, epilog="Example: scribe render out/talk.json -f srt,html")
def render(
    transcript: Annotated[list[str], typer.Argument(metavar="TRANSCRIPT.json", help="Kept transcripts.")],
    formats: Annotated[
        list[str] | None,
        typer.Option("-f", "--format", metavar="LIST", help="Of json,srt,vtt,tsv,txt,html (default: srt)."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Default: the transcript's own; - for stdout."),
    ] = None,
    settings: Settings = None,
    audio: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The recording that the page plays (default: the one of the same name)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> int:
    """Make other formats from stored transcripts, on this machine and offline."""
    from scribe.cli.order import order_of
    from scribe.cli.rendering import render as make

    return make(transcript, order_of(formats or ["srt"], (), settings or ()), output, audio, force)


@program.command(no_args_is_help=True, epilog="Example: scribe delete 2f9c1d-e1")
def delete(job_id: JobId) -> int:
    """Remove all that the worker stored for a job."""
    from scribe.cli.inspect import delete as remove

    return remove(job_id, Environment())
