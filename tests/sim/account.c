/* What is in the spool at the end, and the reports that arrived: to the model. */
#include "base/check.h"
#include "queue/spool.h"
#include "tests/sim/sequence.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void sim_read_report(const char *path)
{
    bool is_in_bad = strncmp(path, "bad/", 4) == 0, is_held = spool_path_is_held(path);
    char name[900], line[1024], address[64];
    snprintf(name, sizeof name, "%s/%s", sim_spool, path);
    FILE *file = fopen(name, "r");
    CHECK(file);
    while (fgets(line, sizeof line, file)) {
        struct model_row *row = NULL;
        if (sscanf(line, "Final-Recipient: rfc822; %63s", address) == 1)
            row = model_find(&sim->model, address, NULL, NULL);
        if (!row)
            continue;
        if (!is_in_bad && !is_held)
            model_tell(&sim->model, address);
        row->in_hold += is_held;
        row->in_bad += is_in_bad;
    }
    fclose(file);
}

static bool has_why(const char *path)
{
    char why[1024];
    struct stat st;
    snprintf(why, sizeof why, "%s/%s.why", sim_spool, path);
    return lstat(why, &st) == 0;
}

static void note_receivers(const char *path, bool is_in_bad)
{
    char name[900], line[1024], address[64];
    struct model_mail *mail;
    snprintf(name, sizeof name, "%s/%s", sim_spool, path);
    FILE *file = fopen(name, "r");
    CHECK(file);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "X-Receiver: <%63[^>]>", address) != 1)
            continue;
        struct model_row *row = model_find(&sim->model, address, NULL, &mail);
        CHECK(row);
        if (row == &mail->sender_row)
            continue;
        mail->is_in_bad |= is_in_bad;
        mail->is_held |= !is_in_bad;
    }
    fclose(file);
}

/* False: a file that nothing explains. */
static bool account_for(const char *path, const char *name, char why[MODEL_WHY_MAX])
{
    size_t len = strlen(name);
    bool is_bad = strncmp(path, "bad/", 4) == 0;
    if (strncmp(path, "hold/", 5) == 0 && sim->model.holds) {
        note_receivers(path, false);
        sim_read_report(path);
        return true;
    }
    if (is_bad && len > 4 && strcmp(name + len - 4, ".why") == 0)
        return true;
    if (is_bad && has_why(path)) {
        note_receivers(path, true);
        sim_read_report(path);
        return true;
    }
    snprintf(why, MODEL_WHY_MAX, "%.150s was left behind", path);
    return false;
}

static bool account_folder(const char *path, char why[MODEL_WHY_MAX])
{
    char name[700];
    snprintf(name, sizeof name, "%s/%s", sim_spool, path);
    DIR *dir = opendir(name);
    bool right = true;
    for (struct dirent *entry; right && dir && (entry = readdir(dir));) {
        char below[600];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(below, sizeof below, "%.300s/%s", path, entry->d_name);
        right = entry->d_type == DT_DIR ? account_folder(below, why)
                                        : account_for(below, entry->d_name, why);
    }
    if (dir)
        closedir(dir);
    return right;
}

bool sim_account(char why[MODEL_WHY_MAX])
{
    static const char *const folders[] = {"new", "tmp", "deferred", "hold", "bad"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (!account_folder(folders[i], why))
            return false;
    return model_is_right(&sim->model, why);
}
