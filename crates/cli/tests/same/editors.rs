//! The ways in which editors save.

use crate::tree::{Known, What};
use crate::workload::Workload;

pub fn workloads() -> Vec<Workload> {
    vec![
        Workload {
            name: "vim_saves_in_every_way",
            programs: &["vim", "script"],
            prepare: "for f in 1 2 3 4 5 6 7; do seq 1 30 >f$f; done; chmod 755 f2; ln -s f3 f3-link; mkdir bak; chmod 600 f6; touch -d 2020-01-01 f1 f2 f3 f4 f5 f6 f7",
            run: r#"
                v() { vim -N -u NONE -i NONE -es "$@" </dev/null; }
                v -c 'set backup backupcopy=no backupdir=bak' -c '%s/1/one/' -c wq f1
                v -c 'set writebackup backupcopy=yes' -c '%s/2/two/' -c wq f2
                v -c 'set backup backupcopy=auto backupext=.orig' -c '%s/3/three/' -c wq f3-link
                v -c 'set nowritebackup nobackup fsync' -c '$d' -c x f4
                v -c 'set undofile undodir=.' -c 'normal ggOfirst' -c wq f5
                v -c 'w! f6-as' -c 'saveas! f6-other' -c q f6
                v -c 'e ++ff=dos f7' -c 'set ff=dos' -c 'wa' -c q f7
                printf 'Goby hand\033:wq\r' | TERM=xterm script -qec 'vim -N -u NONE -i NONE -n f1' /dev/null >/dev/null
                v -c 'split f2 | split f4' -c 'windo normal Gosame' -c wqa f1
                head -3 f1 f2 f3 f4 f5 f6-as f7; ls -A"#,
            known: &[Known { at: ".f5.un~", what: What::Bytes, why: "an undo file holds the time of each change" }],
            ..Workload::default()
        },
        Workload {
            name: "programs_save_by_temp_and_rename",
            programs: &["/usr/bin/python3"],
            prepare: "for f in 1 2 3 4; do seq 1 20 >f$f; chmod 64$f f$f; done; setfattr -n user.keep -v me f2 2>/dev/null || true",
            run: r#"
                cat >save.py <<'END'
import os, shutil, tempfile
def save(name, text):
    fd, temp = tempfile.mkstemp(dir=".", prefix="." + name)
    with os.fdopen(fd, "w") as file:
        file.write(text), file.flush(), os.fsync(file.fileno())
    shutil.copystat(name, temp), os.replace(temp, name)
    folder = os.open(".", os.O_RDONLY)
    os.fsync(folder), os.close(folder)
for round in range(20):
    save("f1", f"round {round}\n" * 50), save("f2", f"{round}")
with open("f3", "r+") as file:
    file.seek(5), file.write("in place"), file.truncate()
os.rename("f4", "f4~"), shutil.copyfile("f4~", "f4"), shutil.copymode("f4~", "f4")
END
                /usr/bin/python3 -B save.py
                cat f1 f2 f3 f4; ls -A"#,
            not_applied: &[Known {
                at: "f4",
                what: What::Time,
                why: "docs/compatibility.md: written anew with the same content, it has only another time",
            }],
            ..Workload::default()
        },
    ]
}
