# What the sink counted against what sluice's delivery log says and what was asked for:
# awk -v log_file=LOG -v recipients=N -v rejected=N -v deferred=N -v dsns=N -f compare.awk STATS LOG
# Prints a table per mail host; fails when anything disagrees.

function field(line, name,    at) {
    if (!match(line, "\"" name "\": ?(\"[^\"]*\"|[0-9]+|null|true|false)"))
        return ""
    at = substr(line, RSTART, RLENGTH)
    sub(/^"[^"]*": ?/, "", at)
    gsub(/"/, "", at)
    return at
}

function check(what, said, counted) {
    if (said + 0 == counted + 0)
        return
    complaints = complaints sprintf("DISAGREE on %s: %d and %d\n", what, said, counted)
}

FILENAME != log_file && /"total":/ {
    duplicates = field($0, "duplicates")
    total_recipients = field($0, "recipients")
    total_deferred = field($0, "deferred")
    total_rejected = field($0, "rejected")
    next
}

FILENAME != log_file && /"name":/ {
    name = field($0, "name")
    hosts[++num_hosts] = name
    arrived[name] = field($0, "recipients")
    plaintext[name] = field($0, "messages_plaintext")
    full[name] = field($0, "messages_tls_full")
    resumed[name] = field($0, "messages_tls_resumed")
    handshakes[name] = field($0, "handshakes_full") "+" field($0, "handshakes_resumed")
    next
}

FILENAME == log_file {
    event = field($0, "event")
    mx = field($0, "mx")
    events[event]++
    if (event != "delivered")
        next
    delivered[mx]++
    # A transaction carries one message's recipients in one domain.
    transaction = field($0, "id") " " field($0, "domain") " " field($0, "attempt")
    if (transaction in seen)
        next
    seen[transaction] = 1
    if ($0 ~ /"tls":null/)
        said_plaintext[mx]++
    else if ($0 ~ /"resumed":true/)
        said_resumed[mx]++
    else
        said_full[mx]++
}

END {
    printf "\nThe receiver's own count:\n%-20s %10s %10s %18s %18s %16s\n", "mail host", "recipients", \
        "plaintext", "in full TLS", "in resumed TLS", "full + resumed"
    printf "%-20s %10s %10s %18s %18s %16s\n", "", "", "messages", "messages", "messages", "handshakes"
    for (i = 1; i <= num_hosts; i++) {
        mx = hosts[i]
        printf "%-20s %10d %10d %18d %18d %16s\n", mx, arrived[mx], plaintext[mx], full[mx], resumed[mx], \
            handshakes[mx]
        check("recipients at " mx, delivered[mx], arrived[mx])
        check("plaintext messages at " mx, said_plaintext[mx], plaintext[mx])
        check("messages in full TLS sessions at " mx, said_full[mx], full[mx])
        check("messages in resumed TLS sessions at " mx, said_resumed[mx], resumed[mx])
    }
    check("recipients asked for and arrived", recipients - rejected + dsns, total_recipients)
    check("recipients asked for and delivered", recipients - rejected + dsns, events["delivered"])
    check("deferred recipients", events["deferred"], total_deferred)
    check("deferred recipients as planned", deferred, total_deferred)
    check("bounced recipients", events["bounced"], total_rejected)
    check("bounced recipients as planned", rejected, total_rejected)
    check("duplicates", 0, duplicates)
    if (num_hosts == 0)
        check("mail hosts", 5, 0)
    if (complaints != "") {
        printf "\n%s", complaints
        exit 1
    }
    printf "\nAll agree: %d recipients asked for, %d delivered (%d of them after a deferral), %d bounced, " \
        "%d bounces delivered to the sender, none lost, none twice.\n", recipients, recipients - rejected, \
        deferred, rejected, dsns
}
