"""What a SavedModel may reach: its own files, and no others unless the config says so.

A SavedModel is a program. Its operations can read and write files with the rights of
the service, and its list of assets can name files outside of it.
"""

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

from gomlx.errors import StageFailed
from gomlx.models.graph import assets

# Operations that read or write files, or that reach other hosts. An asset of the model
# is none of them: what reads one is steady.
REACHING = frozenset(
    """
    AudioSummary CacheDataset CacheDatasetV2 CloseSummaryWriter CollectiveAllToAllV2
    CollectiveAllToAllV3 CollectiveBcastRecv CollectiveBcastRecvV2
    CollectiveBcastSend CollectiveBcastSendV2 CollectiveGather CollectiveGatherV2
    CollectiveReduce CollectiveReduceScatterV2 CollectiveReduceV2 CollectiveReduceV3
    CreateSummaryDbWriter CreateSummaryFileWriter CSVDataset CSVDatasetV2
    DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3
    DataServiceDatasetV4 DebugIdentity DebugIdentityV2 DebugIdentityV3
    DistributedSave ExperimentalCSVDataset ExperimentalLMDBDataset
    ExperimentalSqlDataset FileSystemSetConfiguration FixedLengthRecordDataset
    FixedLengthRecordDatasetV2 FixedLengthRecordReader FixedLengthRecordReaderV2
    GenerateVocabRemapping ImmutableConst InitializeTableFromTextFile
    InitializeTableFromTextFileV2 LMDBDataset LMDBReader LoadAndRemapMatrix
    LoadDataset MatchingFiles MatchingFilesDataset MergeV2Checkpoints PrintV2
    ReadFile RegisterDataset RegisterDatasetV2 Restore RestoreSlice RestoreV2 Save
    SaveDataset SaveDatasetV2 SaveSlices SaveV2 SnapshotDataset
    SnapshotDatasetReader SnapshotDatasetV2 SqlDataset TextLineDataset
    TextLineReader TextLineReaderV2 TFRecordDataset TFRecordDatasetV2 TFRecordReader
    TFRecordReaderV2 WholeFileReader WholeFileReaderV2 WriteAudioSummary WriteFile
    WriteGraphSummary WriteHistogramSummary WriteImageSummary WriteRawProtoSummary
    WriteScalarSummary WriteSummary
    """.split()
)


def check_assets(meta_graph: Any) -> None:
    """Raise StageFailed if an asset is a file outside of the model."""
    for asset in assets(meta_graph):
        path = PurePosixPath(asset.filename)
        if path.is_absolute() or ".." in path.parts:
            raise StageFailed(
                f"its asset {asset.filename!r} is outside of the model's folder: "
                "export the model anew, with the file in assets/"
            )


def check_reached(reached: Collection[str], allowed: Collection[str]) -> None:
    """Raise StageFailed if a model reaches files or hosts, and is not allowed to.

    reached: types of operations that are not known to be steady. allowed: those that
    the config names.
    """
    found = sorted(REACHING.intersection(reached).difference(allowed))
    if found:
        names = ", ".join(found)
        raise StageFailed(
            f"{names}: it reads or writes files outside of the model, or reaches other "
            "hosts, with the rights of the service. If you trust the model, allow it: "
            f"`allow_operations: [{names}]`; else export it without"
        )
