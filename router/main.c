/* The command line: git-style subcommands, exit codes of sysexits.h.
 * It does no work of its own: each subcommand has its file. */
#include "base/log.h"
#include "router/cli.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", cli_run},       {"check", cli_check},   {"queue", cli_queue},
    {"status", cli_status}, {"fsck", cli_fsck},     {"tls-cache", cli_tls_cache},
    {"probe", cli_probe},   {"tlsrpt", cli_tlsrpt}, {"reload", cli_reload},
};

static const char usage[] =
    "usage: sluice COMMAND [OPTION]...\n"
    "  sluice run   [-c FILE] [--spool DIR] [--drain | --until-empty] [--progress]\n"
    "                 deliver the spool's mail; --drain: end when nothing is left that could be\n"
    "                 tried now (exit 0; 75 if deferred mail remains); --until-empty: wait for\n"
    "                 retries too; --progress: live progress, and a table at the end\n"
    "  sluice check [-c FILE]\n"
    "                 parse the configuration and print the effective one (exit 0, or 78)\n"
    "  sluice queue [-c FILE] [--spool DIR] [--json] [SELECTION]\n"
    "                 what is waiting; SELECTION: --sender ADDRESS, --recipient-domain DOMAIN\n"
    "  sluice queue hold|release|retry|remove ID...|SELECTION|--all\n"
    "                 with a running router or without one\n"
    "  sluice status [-c FILE] [--spool DIR] [--json]\n"
    "                 the running router: exit 0; 69: none is running; 75: it is in trouble\n"
    "  sluice reload [-c FILE] [--spool DIR] [--json]\n"
    "                 the running router reads its configuration anew (as by SIGHUP); exit 78 and\n"
    "                 nothing changed: it is wrong\n"
    "  sluice tls-cache [flush] [-c FILE] [--spool DIR] [--json] [--top N] [NAME]\n"
    "                 the running router's TLS sessions: what they save, where they could save "
    "more;\n"
    "                 NAME: an MX host, a domain above it, or an address\n"
    "  sluice probe [-c FILE] [--json] [--all] [--transcript] [--timeout SECONDS] DOMAIN [HOST]\n"
    "                 what would happen to mail for it: exit 0: TLS, authenticated; 10: TLS; 11:\n"
    "                 plaintext; 75: deferred; 69: bounced\n"
    "  sluice tlsrpt [-c FILE] [--spool DIR] [--day YYYY-MM-DD] [--status] [DOMAIN]\n"
    "                 what is due to recipient domains: TLS reports of a day, one JSON object "
    "each;\n"
    "                 --status: what became of them\n"
    "  sluice fsck  [-c FILE] [--spool DIR] [--repair] [--json]\n"
    "                 differences between journal and files: exit 0: none is left; 1: some are\n"
    "  sluice --version | --help\n"
    "Without -c, /etc/sluice/sluice.conf is read if it exists.\n";

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        fputs(usage, stdout);
        return EX_OK;
    }
    if (strcmp(name, "--version") == 0)
        return cli_version();
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fputs(usage, stderr);
    return EX_USAGE;
}
