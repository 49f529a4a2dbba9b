-- One row per airport and hour (UTC). Wind gusts are missing in four of five hours and are left out.
select
    origin,
    strptime(time_hour, '%Y-%m-%dT%H:%M:%SZ') as departure_hour,
    temp,
    dewp,
    humid,
    wind_speed,
    precip,
    visib,
    pressure
from {{ source('nycflights13', 'weather') }}
