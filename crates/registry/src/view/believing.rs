//! Whom whoever reads the view believes besides the authority of the mesh.

use super::View;

/// Whether nodes are believed by certificates of files, whom the registry does not know.
pub(super) type Believes = Box<dyn Fn() -> bool + Send + Sync>;

impl View {
    /// Has this asked whenever it matters, from now on; the first who says so is.
    pub fn ask_whether_files_are_believed(&self, believes: impl Fn() -> bool + Send + Sync + 'static) {
        // A second part that judges there is not.
        let _ = self.believes_files.set(Box::new(believes));
    }

    /// Whether nodes are believed by certificates of files; not so before anybody has said it.
    pub fn believes_files(&self) -> bool {
        self.believes_files.get().is_some_and(|believes| believes())
    }
}
