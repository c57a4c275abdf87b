"""Time-outs and retries of everything on a network. They change no result."""

from dualrec.config.group import Count, Group, Seconds


class StoreSettings(Group):
    """A workspace, data or models in object storage: alike for every client, in the driver and in
    Ray workers."""

    connect_timeout_s: Seconds = 5.0
    # That a connection may be silent before a request is sent anew. pyarrow counts whole seconds,
    # from 1 on; delta-rs counts the whole request, and has three times as long.
    read_timeout_s: Seconds = 10.0
    # Of a request, with the growing pauses of the AWS clients: seven take 10 to 30 s. More, and a
    # wrong endpoint is reported too late.
    attempts: Count = 7
    # Before a failed call of the Delta table is made again: its client repeats neither a put whose
    # answer does not come nor an answer that breaks off.
    table_pauses_s: tuple[Seconds, ...] = (1.0, 4.0)


class DownloadSettings(Group):
    """Data sets and models that are fetched by name."""

    connect_timeout_s: Seconds = 3.0  # short: a machine without internet goes on to the next source
    read_timeout_s: Seconds = 30.0
    attempts: Count = (
        2  # in a row that bring nothing new; a slow line that breaks often still gets there
    )
    pause_s: Seconds = (
        0.5  # before the second attempt in a row; twice as long before the third, and so on
    )
    pip_timeout_s: Seconds = (
        10.0  # of one connection of pip; its own default takes minutes without internet
    )
    wheel_timeout_s: Seconds = 1800.0  # of a whole wheel
    lock_timeout_s: Seconds = (
        3600.0  # while another process fetches the same, which may be many gigabytes
    )


class NetworkSettings(Group):
    """Time-outs and retries of everything on a network. They change no result."""

    store: StoreSettings = StoreSettings()
    downloads: DownloadSettings = DownloadSettings()
