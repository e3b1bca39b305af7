/* The steps of a sequence that come from outside: mail, time, backups.
 * What they mean for each recipient is noted in the model. */
#include "base/check.h"
#include "base/clock.h"
#include "tests/fault/simulation.h"
#include "tests/sim/disk.h"
#include "tests/sim/sequence.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

enum { DROPS_MAX = 150, MINUTE_MS = 60 * 1000 };

uint64_t sim_draw(uint64_t limit)
{
    /* xorshift64*: the same numbers everywhere. */
    sim->random ^= sim->random >> 12;
    sim->random ^= sim->random << 25;
    sim->random ^= sim->random >> 27;
    return (sim->random * UINT64_C(2685821657736338717) >> 33) % limit;
}

void sim_tell(const char *step, unsigned number)
{
    sim->steps++;
    if (sim_is_verbose)
        printf("  %s %u\n", step, number);
}

static void choose_mail(struct model_mail *mail)
{
    uint64_t sender = sim_draw(12);
    *mail = (struct model_mail){.num = 1 + (unsigned)sim_draw(MODEL_RECIPIENTS_MAX)};
    mail->sender = sender == 0 ? SENDER_NULL : sender == 1 ? SENDER_REFUSING : SENDER_GOOD;
    for (unsigned i = 0; i < mail->num; i++)
        mail->fates[i] = (enum fate)sim_draw(NUM_FATES);
}

void sim_drop(void)
{
    struct model *model = &sim->model;
    char path[700], final[700], address[64];
    if (model->num == DROPS_MAX)
        return;
    unsigned number = model->num++;
    choose_mail(&model->mails[number]);
    model->mails[number].dropped_ms = clock_wall_us() / 1000;
    snprintf(path, sizeof path, "%s/tmp/mail%u.tmp", sim_spool, number);
    snprintf(final, sizeof final, "%s/new/mail%u", sim_spool, number);
    FILE *file = fopen(path, "w");
    CHECK(file);
    model_sender(model, number, address);
    fprintf(file, "X-Sender: <%s>\n", address);
    for (unsigned i = 0; i < model->mails[number].num; i++) {
        model_address(model, number, i, address);
        fprintf(file, "X-Receiver: <%s>\n", address);
    }
    fprintf(file, "Subject: mail %u\n\n%0*d\n", number, sim_draw(6) ? 40 : 6000, 0);
    const struct timespec now = {.tv_sec = clock_wall_us() / 1000000,
                                 .tv_nsec = clock_wall_us() % 1000000 * 1000};
    const struct timespec times[2] = {now, now};
    CHECK(fflush(file) == 0 && futimens(fileno(file), times) == 0);
    CHECK(fclose(file) == 0 && rename(path, final) == 0);
    sim_tell("drop", number);
}

/* A start after the clock was set back, too: then the time differs between runs only. */
void sim_jump(bool may_go_back)
{
    int64_t ms = (int64_t)sim_draw(sim_draw(4) ? 20 * MINUTE_MS : (uint64_t)(SIM_DAY_MS / 4));
    if (may_go_back && sim_draw(4) == 0)
        ms = -ms / 4;
    if (ms < 0)
        model_set_clock_back(&sim->model, -ms);
    simulation_set_time_us(simulation_time_us() + ms * 1000);
    sim_tell("time jump, s", (unsigned)(ms / 1000));
}

/* The mail of a file, and whoever it reports, may be unknown to the journal now. */
static void forget_file(const char *path)
{
    char line[1024], address[64];
    FILE *file = fopen(path, "r");
    CHECK(file);
    while (fgets(line, sizeof line, file)) {
        struct model_row *row = NULL;
        if (sscanf(line, "X-Receiver: <%63[^>]>", address) == 1 ||
            sscanf(line, "Final-Recipient: rfc822; %63s", address) == 1)
            row = model_find(&sim->model, address, NULL, NULL);
        if (row)
            model_forget(row);
    }
    fclose(file);
}

/* A copy in new/ is new mail: docs/journal.md. */
static void forget_new(void)
{
    char path[700];
    snprintf(path, sizeof path, "%s/new", sim_spool);
    DIR *dir = opendir(path);
    CHECK(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        snprintf(path, sizeof path, "%s/new/%.200s", sim_spool, entry->d_name);
        if (entry->d_name[0] != '.')
            forget_file(path);
    }
    closedir(dir);
}

void sim_restore(void)
{
    struct model *model = &sim->model;
    unsigned kind = (unsigned)sim_draw(3);
    char from[400], to[400];
    disk_forget();
    if (kind == 0) {
        disk_remove(sim_spool);
        disk_copy(sim_backup, sim_spool);
        model_restore(model, sim->backup_num);
        forget_new();
        sim_tell("restore the spool of mail", sim->backup_num);
        return;
    }
    snprintf(from, sizeof from, "%s/journal", sim_backup);
    snprintf(to, sizeof to, "%s/journal", sim_spool);
    disk_remove(to);
    if (kind == 1)
        disk_copy(from, to);
    else
        CHECK(mkdir(to, 0750) == 0);
    model_restore_journal(model, kind == 1 ? sim->backup_num : 0);
    forget_new();
    sim_tell(kind == 1 ? "restore the journal of mail" : "lose the journal", sim->backup_num);
}

void sim_back_up(void)
{
    disk_remove(sim_backup);
    disk_copy(sim_spool, sim_backup);
    model_back_up(&sim->model);
    sim->has_backup = true;
    sim->backup_num = sim->model.num;
    sim_tell("backup", sim->backup_num);
}
