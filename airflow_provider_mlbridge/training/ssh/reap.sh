# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154
#
# Retention: what is kept of trainings that are over is removed after a while. Functions only.

# Set $mlb_epoch_seconds to 2026-01-31T23:59:59Z as seconds since 1970; not 0: this is no such time.
mlb_epoch_seconds() { # time
    case $1 in
        [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z) ;;
        *) return 1 ;;
    esac
    # A leading zero would make a number octal.
    mlb_words=$(printf '%s' "$1" | tr -c '0-9' ' ' | sed 's/ 0\([0-9]\)/ \1/g')
    # shellcheck disable=SC2086
    set -- $mlb_words
    # Days of a year that begins in March, so that the odd day is its last one.
    if [ "$2" -gt 2 ]; then
        mlb_year=$1 mlb_month=$(($2 - 3))
    else
        mlb_year=$(($1 - 1)) mlb_month=$(($2 + 9))
    fi
    mlb_days=$((mlb_year * 365 + mlb_year / 4 - mlb_year / 100 + mlb_year / 400))
    mlb_days=$((mlb_days + (mlb_month * 153 + 2) / 5 + $3 - 719469))
    mlb_epoch_seconds=$(((mlb_days * 24 + $4) * 3600 + $5 * 60 + $6))
}

# Remove the generations that ended more than $1 seconds ago, at most $2 of them, and say how many. A success
# whose result nobody has fetched yet stays, unless a later generation has taken its place. $mlb_root/reaped
# keeps the numbers, so that a host that cleaned up can be told from one that lost its memory.
mlb_reap() { # seconds at-most
    mlb_before=$(($(date +%s) - $1)) mlb_most=$2 mlb_removed=0
    mlb_trash=$mlb_root/trash
    mkdir -p "$mlb_trash"
    for mlb_claim in "$mlb_root/jobs"/*/*/claim; do
        [ "$mlb_removed" -lt "$mlb_most" ] || break
        mlb_dir=${mlb_claim%/claim}
        if ! [ -e "$mlb_dir/end" ]; then
            # Nobody may have asked for a training since the host was restarted.
            [ -e "$mlb_claim" ] && mlb_look "$mlb_dir"
            continue
        fi
        mlb_read_end
        mlb_number=${mlb_dir##*/} mlb_key=${mlb_dir%/*}
        mlb_key=${mlb_key##*/}
        if [ "$mlb_state" = succeeded ] && ! [ -e "$mlb_dir/ack" ]; then
            [ -e "$mlb_root/jobs/$mlb_key/$((mlb_number + 1))/claim" ] || continue
        fi
        # A time that is not readable stands for an end whose content a crash took.
        [ "$mlb_finished" = - ] || mlb_epoch_seconds "$mlb_finished" || continue
        [ "$mlb_finished" = - ] || [ "$mlb_epoch_seconds" -lt "$mlb_before" ] || continue
        mlb_remove && mlb_removed=$((mlb_removed + 1))
    done
    # With the rename the job is gone; what a crash left in the trash goes too.
    rm -rf "$mlb_trash"
    mlb_say C "$mlb_removed"
}

mlb_remove() { # generation $mlb_number of $mlb_key in $mlb_dir
    printf '%s %s\n' "$mlb_key" "$mlb_number" >>"$mlb_root/reaped" || return
    mlb_leave_group
    mv "$mlb_dir" "$mlb_trash/$mlb_key.$mlb_number.$mlb_nonce" || return
    rmdir "$mlb_root/jobs/$mlb_key"
    return 0
} 2>/dev/null

mlb_newest_reaped() { # key: set $mlb_top to its last generation that was removed, 0 if none was
    mlb_top=0
    [ -e "$mlb_root/reaped" ] || return 0
    for mlb_number in $(sed -n "s/^$1 \([0-9]*\)\$/\1/p" "$mlb_root/reaped"); do
        [ "$mlb_number" -gt "$mlb_top" ] && mlb_top=$mlb_number
    done
    return 0
}
