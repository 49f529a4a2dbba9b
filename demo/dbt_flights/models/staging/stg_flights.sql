-- One row per flight that arrived: cancelled and diverted flights have no arrival delay, so no label.
-- Nothing that is known only after departure leaves this model, but for the delay the label is made of.
with numbered as (
    select
        *,
        row_number() over (order by time_hour, sched_dep_time, carrier, flight, origin) as flight_id
    from {{ source('nycflights13', 'flights') }}
)

select
    cast(flight_id as bigint) as flight_id,
    cast(year as integer) as year,
    cast(month as integer) as month,
    cast(day as integer) as day,
    cast(hour as integer) as hour,
    -- time_hour is the full hour in UTC
    strptime(time_hour, '%Y-%m-%dT%H:%M:%SZ') as departure_hour,
    strptime(time_hour, '%Y-%m-%dT%H:%M:%SZ') + to_minutes(cast(minute as integer)) as scheduled_departure,
    cast(hour * 60 + minute as integer) as sched_dep_minute,
    cast((sched_arr_time // 100) * 60 + sched_arr_time % 100 as integer) as sched_arr_minute,
    carrier,
    origin,
    dest,
    tailnum,
    cast(distance as integer) as distance,
    arr_delay
from numbered
where arr_delay is not null
