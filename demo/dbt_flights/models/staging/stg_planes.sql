select
    tailnum,
    cast(year as integer) as year_built,
    cast(seats as integer) as seats,
    cast(engines as integer) as engines,
    manufacturer
from {{ source('nycflights13', 'planes') }}
