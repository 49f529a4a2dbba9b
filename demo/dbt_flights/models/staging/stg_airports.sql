select
    faa,
    cast(alt as integer) as altitude,
    cast(tz as integer) as utc_offset
from {{ source('nycflights13', 'airports') }}
