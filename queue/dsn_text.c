/* The part of a DSN that people read: what happened, what the other side said, what to do now.
 * Everything in it is in the machine's part too; nothing is decided here. */
#include "queue/dsn_composer.h"
#include "queue/header_field.h"

enum { ANY = 255 };

/* What the sender can do, by RFC 3463 subject and detail; the first match. */
static const struct {
    uint8_t subject, detail;
    const char *advice;
} advices[] = {
    {1, 1, "There is no such mailbox. Please check the address, above all the part before the @."},
    {1, 2, "The part behind the @ does not exist. Please check the address."},
    {1, 6, "The mailbox has moved; what the other system said may name the new address."},
    {1, 10, "That domain takes no mail at all. Please reach them in another way."},
    {1, ANY, "The address was not accepted. Please check it."},
    {2, 1, "The mailbox is disabled. Please reach them in another way."},
    {2, 2, "The mailbox is full. Please reach them in another way, or try again in some days."},
    {2, 3, "The message is too large for that mailbox. Please send it in a smaller form."},
    {3, 4, "The message is too large for that system. Please send it in a smaller form."},
    {4, 4, "No mail host was found for that domain. Please check the part behind the @."},
    {4, 6, "The message travels in a loop. Please tell your postmaster."},
    {4, 7,
     "Their system could not be reached, or put us off, for all the time that we try. You can "
     "send the message again."},
    {6, 7,
     "Their system cannot take addresses or header fields in this alphabet. Please use "
     "another address of theirs."},
    {6, ANY,
     "Their system cannot handle the form of this message. Please send it in a plainer "
     "form."},
    {7, ANY,
     "Their system refused the message by its rules. What it said may tell how to be let "
     "through; else please ask the people there in another way."},
};

static const char default_advice[] =
    "If what the other system said does not help you, please show this report to your postmaster.";

struct section {
    const char *subject; /* of a report that begins with this section */
    const char *one;     /* the words in front of a single recipient */
    const char *many;
};

static const struct section sections[NUM_DSN_ACTIONS] = {
    [DSN_FAILED] = {"Undelivered Mail Returned to Sender",
                    "Your message could not be delivered to this recipient, and is not tried\n"
                    "again:\n",
                    "Your message could not be delivered to these recipients, and is not tried\n"
                    "again for them:\n"},
    [DSN_DELAYED] = {"Delayed Mail (still being retried)",
                     "Your message could not be delivered to this recipient yet. It is kept and\n"
                     "tried again; you need not send it again:\n",
                     "Your message could not be delivered to these recipients yet. It is kept and\n"
                     "tried again; you need not send it again:\n"},
    [DSN_DELIVERED] = {"Successful Mail Delivery Report",
                       "Your message was put into the mailbox of this recipient:\n",
                       "Your message was put into the mailboxes of these recipients:\n"},
    [DSN_RELAYED] =
        {"Successful Mail Delivery Report",
         "Your message was handed to the mail system of this recipient, which gives no\n"
         "further notice of success:\n",
         "Your message was handed to the mail systems of these recipients, which give\n"
         "no further notice of success:\n"},
};

const char *dsn_subject(const struct composer *c)
{
    unsigned action = DSN_FAILED;
    while (action < NUM_DSN_ACTIONS - 1 && c->num_of[action] == 0)
        action++;
    return sections[action].subject;
}

static const char *advice_for(const struct outcome *outcome)
{
    const uint8_t *e = outcome->enhanced;
    for (size_t i = 0; e[0] && i < sizeof advices / sizeof *advices; i++)
        if (advices[i].subject == e[1] && (advices[i].detail == ANY || advices[i].detail == e[2]))
            return advices[i].advice;
    return default_advice;
}

/* Words broken into lines of at most 76 octets, indented by four. */
static void put_paragraph(struct composer *c, const char *text)
{
    size_t column = 0;
    while (*text) {
        size_t len = strcspn(text, " ");
        if (column && column + 1 + len > 76) {
            buffer_append_byte(c->out, '\n');
            column = 0;
        }
        buffer_append_str(c->out, column ? " " : "    ");
        buffer_append(c->out, text, len);
        column += len + (column ? 1 : 4);
        text += len + (text[len] == ' ');
    }
    buffer_append_byte(c->out, '\n');
}

static void put_recipient(struct composer *c, const struct dsn_recipient *r)
{
    buffer_append_str(c->out, "\n  <");
    dsn_put_text(c, r->mailbox);
    buffer_append_str(c->out, ">:\n    ");
    if (r->outcome->code && r->remote_mta[0]) {
        buffer_append_str(c->out, "host ");
        dsn_put_text(c, r->remote_mta);
        buffer_append_str(c->out, " said: ");
    }
    if (r->outcome->code || r->outcome->text[0])
        dsn_put_reply(c, r->outcome);
    else
        buffer_append_str(c->out, "no attempt could be made yet");
    buffer_append_byte(c->out, '\n');
    if (r->action == DSN_FAILED) {
        put_paragraph(c, advice_for(r->outcome));
    } else if (r->action == DSN_DELAYED) {
        buffer_append_str(c->out, "    It is tried until ");
        header_date_append(c->out, r->retry_until_wall_ms);
        buffer_append_str(c->out, ".\n");
    }
}

static void put_section(struct composer *c, enum dsn_action action)
{
    const struct section *section = &sections[action];
    buffer_printf(c->out, "\n%s", c->num_of[action] > 1 ? section->many : section->one);
    for (size_t i = 0; i < c->request->num_recipients; i++)
        if (c->request->recipients[i].action == action)
            put_recipient(c, &c->request->recipients[i]);
}

void dsn_put_human_part(struct composer *c)
{
    dsn_begin_part(c, "Notification",
                   c->global ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii",
                   c->global ? "8bit" : "7bit");
    buffer_append_str(c->out, "This is the mail system at host ");
    dsn_put_text(c, c->request->reporting_mta);
    buffer_append_str(c->out, ".\n");
    for (unsigned action = 0; action < NUM_DSN_ACTIONS; action++)
        if (c->num_of[action])
            put_section(c, action);
    if (c->request->original.len)
        buffer_append_str(c->out, c->request->is_whole
                                      ? "\nYour message is attached.\n"
                                      : "\nThe beginning of your message is attached.\n");
}
