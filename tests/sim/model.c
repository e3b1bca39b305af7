/* The rules, one recipient at a time.
 * It looks at no file: property_test.c does and notes here what it finds. */
#include "tests/sim/model.h"

#include <stdio.h>

static const char *const fate_names[NUM_FATES] = {"ok", "later", "no", "never", "lost"};

void model_address(const struct model *model, unsigned mail, unsigned index, char out[64])
{
    snprintf(out, 64, "%s.%u.%u@d%u.test", fate_names[model->mails[mail].fates[index]], mail, index,
             index);
}

void model_sender(const struct model *model, unsigned mail, char out[64])
{
    static const char *const names[] = {"sender", "refusing"};
    out[0] = '\0';
    if (model->mails[mail].sender != SENDER_NULL)
        snprintf(out, 64, "%s.%u@o.test", names[model->mails[mail].sender], mail);
}

struct model_row *model_find(struct model *model, const char *address, enum fate *out_fate,
                             struct model_mail **out_mail)
{
    char word[16];
    unsigned number, index;
    int fields = sscanf(address, "%15[a-z].%u.%u@", word, &number, &index);
    if (fields < 2 || number >= model->num)
        return NULL;
    struct model_mail *mail = &model->mails[number];
    if (out_mail)
        *out_mail = mail;
    if (fields == 2) {
        if (out_fate)
            *out_fate = mail->sender == SENDER_REFUSING ? FATE_NO : FATE_OK;
        return &mail->sender_row;
    }
    if (index >= mail->num)
        return NULL;
    if (out_fate)
        *out_fate = mail->fates[index];
    return &mail->rows[index];
}

static void fail(struct model *model, const char *address, const char *fault)
{
    if (!model->fault[0])
        snprintf(model->fault, MODEL_WHY_MAX, "%s %s", address, fault);
}

void model_try(struct model *model, const char *address, uint32_t attempt)
{
    struct model_mail *mail;
    struct model_row *row = model_find(model, address, NULL, &mail);
    if (!row || row == &mail->sender_row)
        return;
    row->tries++;
    if (mail->is_withdrawn)
        fail(model, address, "is tried, and its mail went with the restored backup");
    else if (row->known.settled)
        fail(model, address, "is tried again, and its end was stored");
    else if (model->holds && row->known.doubt && !mail->is_restored)
        fail(model, address, "is tried again, and is to be held");
    else if (attempt <= row->known.attempt)
        fail(model, address, "has an attempt of a number that it had");
    row->known.attempt = attempt;
}

void model_answer(struct model_row *row, bool is_final, bool is_accepted)
{
    row->settles |= is_final;
    row->accepted += is_accepted;
}

void model_doubt(struct model_row *row, uint32_t attempt)
{
    row->known.doubt = attempt;
    row->was_in_doubt = true;
}

void model_tell(struct model *model, const char *address)
{
    enum fate fate;
    struct model_mail *mail;
    struct model_row *row = model_find(model, address, &fate, &mail);
    if (!row || row == &mail->sender_row)
        return;
    row->told++;
    row->tells = true;
    /* Of a restored mail the report may be older than what is tried again. */
    row->settles |= !mail->is_restored;
    if (row->known.told && !mail->is_restored)
        fail(model, address, "is reported again, and that report's arrival was stored");
    if (fate != FATE_NO && model->latest_ms < mail->dropped_ms + model->lifetime_ms)
        fail(model, address, "is given up before its time");
}

/* Mail that was not yet picked up arrives at the earlier time. */
void model_set_clock_back(struct model *model, int64_t by_ms)
{
    for (unsigned i = 0; i < model->num; i++)
        model->mails[i].dropped_ms -= by_ms;
}

static void each_row(struct model *model, void (*call)(struct model_row *row))
{
    for (unsigned i = 0; i < model->num; i++) {
        call(&model->mails[i].sender_row);
        for (unsigned r = 0; r < model->mails[i].num; r++)
            call(&model->mails[i].rows[r]);
    }
}

static void store_row(struct model_row *row)
{
    row->known.settled |= row->settles;
    row->known.told |= row->tells;
    row->settles = row->tells = false;
}

static void kill_row(struct model_row *row)
{
    row->settles = row->tells = false;
}

static void commit_row(struct model_row *row)
{
    row->durable = row->known;
}

/* Intent and outcome of the same attempt may go together: then nothing is in doubt, and a recipient
 * whose time is over by the next start is given up although it was accepted. */
static void power_off_row(struct model_row *row)
{
    row->was_forgotten |= (row->known.settled || row->settles) && !row->durable.settled;
    row->known = row->durable;
}

static void back_up_row(struct model_row *row)
{
    row->backup = row->known;
}

static void restore_row(struct model_row *row)
{
    row->known = row->durable = row->backup;
}

void model_store(struct model *model)
{
    each_row(model, store_row);
}

void model_kill(struct model *model)
{
    each_row(model, kill_row);
}

void model_commit(struct model *model)
{
    each_row(model, commit_row);
}

void model_power_off(struct model *model)
{
    each_row(model, power_off_row);
}

void model_back_up(struct model *model)
{
    each_row(model, back_up_row);
}

void model_forget(struct model_row *row)
{
    row->known = row->durable = row->backup = (struct model_knowledge){0};
}

void model_restore(struct model *model, unsigned num)
{
    each_row(model, restore_row);
    for (unsigned i = 0; i < model->num; i++) {
        model->mails[i].is_restored = true;
        model->mails[i].is_withdrawn |= i >= num;
    }
}

void model_restore_journal(struct model *model, unsigned num)
{
    each_row(model, num ? restore_row : model_forget);
    for (unsigned i = 0; i < model->num; i++)
        model->mails[i].is_restored = true;
}

/* Of a recipient that was not accepted, or may have been given up after a doubt: whether its
 * sender, or the operator, can see its end. */
static const char *report_fault(const struct model_mail *mail, const struct model_row *row)
{
    bool sender_in_doubt = mail->sender_row.was_in_doubt;
    unsigned reports = (row->told > 0) + row->in_bad + row->in_hold;
    if (mail->sender == SENDER_NULL)
        return reports ? "was reported to the null sender" : NULL;
    if (row->in_bad > 1 || row->in_hold > 1)
        return "is named by two reports that nobody got";
    if (mail->sender == SENDER_GOOD && row->in_bad && !sender_in_doubt)
        return "is named by a report in bad/, and the sender takes reports";
    if (reports > 1 && !sender_in_doubt)
        return "was reported too often";
    return NULL;
}

static const char *end_fault(const struct model *model, const struct model_mail *mail,
                             const struct model_row *row, enum fate fate)
{
    unsigned reports = row->told + row->in_bad + row->in_hold;
    bool is_held = model->holds && row->known.doubt;
    if (row->accepted && reports && !row->was_in_doubt && !row->was_forgotten)
        return "was accepted, and reported";
    if (is_held && !mail->is_held)
        return "was in doubt, and its mail is not held";
    if (is_held)
        return reports ? "is held, and reported" : NULL;
    if (fate == FATE_OK && !row->was_in_doubt)
        return row->accepted ? NULL : "was not accepted";
    if (row->accepted || reports)
        return NULL;
    /* The null sender is told nothing. Its mail is put into bad/ when nothing of it is held. */
    if (mail->sender == SENDER_NULL && (mail->is_held || mail->is_in_bad))
        return row->tries || row->was_in_doubt ? NULL : "was given up without an attempt";
    return "has no outcome";
}

static const char *restored_fault(const struct model_mail *mail, const struct model_row *row)
{
    bool has_end = row->accepted + row->told + row->in_bad + row->in_hold > 0;
    bool is_kept = mail->is_held || (mail->is_in_bad && mail->sender == SENDER_NULL);
    return has_end || is_kept || mail->is_withdrawn ? NULL : "has no outcome";
}

static const char *fault_of(const struct model *model, const struct model_mail *mail,
                            unsigned index)
{
    const struct model_row *row = &mail->rows[index];
    enum fate fate = mail->fates[index];
    if (row->accepted && (fate == FATE_NO || fate == FATE_NEVER))
        return "was refused, and yet accepted";
    if (mail->is_in_bad && mail->sender != SENDER_NULL)
        return "is in bad/, and its sender could be told";
    if (mail->is_restored)
        return restored_fault(mail, row);
    const char *fault = report_fault(mail, row);
    return fault ? fault : end_fault(model, mail, row, fate);
}

static bool is_held_for_nothing(const struct model_mail *mail)
{
    bool in_doubt = mail->is_restored;
    for (unsigned r = 0; r < mail->num; r++)
        in_doubt |= mail->rows[r].known.doubt > 0;
    return mail->is_held && !in_doubt;
}

bool model_is_right(struct model *model, char why[MODEL_WHY_MAX])
{
    for (unsigned i = 0; i < model->num; i++) {
        const struct model_mail *mail = &model->mails[i];
        for (unsigned r = 0; r < mail->num; r++) {
            const struct model_row *row = &mail->rows[r];
            const char *fault = is_held_for_nothing(mail) ? "is held, and nothing was in doubt"
                                                          : fault_of(model, mail, r);
            char address[64], line[MODEL_WHY_MAX - 64];
            if (!fault)
                continue;
            model_address(model, i, r, address);
            snprintf(line, sizeof line,
                     "%s: tried %u, accepted %u, told %u, in bad %u, in hold %u%s", fault,
                     row->tries, row->accepted, row->told, row->in_bad, row->in_hold,
                     row->was_in_doubt ? ", was in doubt" : "");
            fail(model, address, line);
        }
    }
    snprintf(why, MODEL_WHY_MAX, "%s", model->fault);
    return !model->fault[0];
}
