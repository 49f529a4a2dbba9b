{{ config(
    materialized='external',
    location=env_var('FLIGHTS_DATAMART'),
    options={'format': 'parquet', 'compression': 'zstd', 'partition_by': 'month'},
) }}

select
    f.flight_id,
    f.year,
    f.month,
    f.day,
    f.hour,
    f.scheduled_departure,
    f.sched_dep_minute,
    f.sched_arr_minute,
    f.carrier,
    f.origin,
    f.dest,
    f.distance,
    w.temp,
    w.dewp,
    w.humid,
    w.wind_speed,
    w.precip,
    w.visib,
    w.pressure,
    f.year - p.year_built as plane_age,
    p.seats as plane_seats,
    p.engines as plane_engines,
    p.manufacturer as plane_manufacturer,
    a.altitude as dest_altitude,
    a.utc_offset as dest_tz,
    f.arr_delay > 30 as arrived_late_30
from {{ ref('stg_flights') }} as f
left join {{ ref('stg_weather') }} as w on w.origin = f.origin and w.departure_hour = f.departure_hour
left join {{ ref('stg_planes') }} as p on p.tailnum = f.tailnum
left join {{ ref('stg_airports') }} as a on a.faa = f.dest
order by f.flight_id
