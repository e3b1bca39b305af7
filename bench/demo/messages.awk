# Fills the templates: awk -v count=N -v out=FOLDER -v summary=FILE -f messages.awk TEMPLATE...
# Writes N messages and, into the summary, what must become of them.

function base(path) {
    sub(/.*\//, "", path)
    return path
}

function paragraphs(num,    text, i) {
    text = ""
    for (i = 0; i < num; i++)
        text = text "Paragraph " i + 1 ". A router of mail should be as dull as a good railway: what goes in at one\n" \
            "end comes out at the other, in order, on time, and nobody needs to know its name.\n\n"
    return text
}

# 60 octets a line, as base64 of anything might look.
function base64(lines,    text, i, line) {
    text = ""
    for (i = 0; i < lines; i++) {
        line = sprintf("%c%c%c%cIHNsdWljZSBkZW1vIGF0dGFjaG1lbnQgbm8gb25lIHdpbGwgZXZlciByZWFk", \
                       65 + i % 26, 97 + i % 25, 65 + (i * 7) % 26, 97 + (i * 3) % 26)
        text = text substr(line, 1, 60) "\n"
    }
    return text
}

function add(recipient,    domain) {
    recipients[++num_recipients] = recipient
    domain = substr(recipient, index(recipient, "@") + 1)
    total++
    if (domain == "later.demo.test")
        deferred++
    if (recipient == "nobody@picky.demo.test") {
        rejected++
        refused = 1
    }
}

# One recipient, or several at one or more domains; but for nobody's each address is used once.
function choose(i,    d, name) {
    num_recipients = 0
    refused = 0
    d = domains[i % num_domains + 1]
    name = d == "picky.demo.test" && i % 2 ? "nobody" : "reader." i
    add(name "@" d)
    if (i % 6 == 0) {
        add("second." i "@" d)
        add("third." i "@" domains[(i + 1) % num_domains + 1])
    }
    if (i % 40 == 3)
        for (d = 0; d < 12; d++)
            add("list." i "." d "@" domains[d % num_domains + 1])
    dsns += refused
}

function put(file, template, i,    line, j, to, cc, explicit) {
    explicit = i % 2
    to = "<" recipients[1] ">"
    cc = ""
    for (j = 2; j <= num_recipients; j++)
        cc = cc (j > 2 ? ",\n " : (i % 12 ? "Cc: " : "Bcc: ")) "Reader " j " <" recipients[j] ">"
    if (explicit) {
        printf "X-Sender: <%s>\n", sender > file
        for (j = 1; j <= num_recipients; j++)
            printf "X-Receiver: <%s>\n", recipients[j] > file
    }
    printf "X-Bench-Id: demo-%06d\n", i > file
    for (j = 1; j <= lines[template]; j++) {
        line = text[template, j]
        if (line == "@CC@") {
            if (cc != "")
                print cc > file
            continue
        }
        gsub(/@ID@/, i, line)
        gsub(/@FROM@/, sender, line)
        gsub(/@TO@/, to, line)
        if (line == "@PARAGRAPHS@")
            printf "%s", paragraphs(1 + (i * i) % 37 * (i % 9 == 0 ? 9 : 1)) > file
        else if (line == "@BASE64@")
            printf "%s", base64(20 + (i * 13) % 600) > file
        else
            print line > file
    }
    close(file)
}

FNR == 1 { templates[++num_templates] = FILENAME }
{ text[num_templates, ++lines[num_templates]] = $0 }

END {
    sender = "newsletter@sender.demo.test"
    num_domains = split("tls13.demo.test tls12.demo.test plain.demo.test later.demo.test picky.demo.test", domains, " ")
    for (i = 1; i <= count; i++) {
        choose(i)
        put(sprintf("%s/%06d.eml", out, i), int(i / num_domains) % num_templates + 1, i)
    }
    printf "recipients=%d\nrejected=%d\ndeferred=%d\ndsns=%d\n", total, rejected, deferred, dsns > summary
}
